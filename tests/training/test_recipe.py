"""Recipes: which parameters learn, and with what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import OptionError
from lib.networks import build_sam
from lib.training.annotator import Annotator, PublishedAnnotator
from lib.training.objective import PublishedObjective, RowObjective
from lib.training.recipe import DEFAULT, PAPER, find_recipe, learning_parameters, prepare_parameters
from tests.support.small_sam import SMALL, disc, small_sam


def test_they_are_found_by_name() -> None:
    assert find_recipe("default") is DEFAULT and find_recipe("paper") is PAPER
    with pytest.raises(OptionError, match="default, paper"):
        find_recipe("mine")


def test_the_decoder_alone_leaves_the_encoder_alone() -> None:
    model = small_sam()
    prepare_parameters(model, "decoder", DEFAULT)
    names = learning_parameters(model)
    assert names and not any(name.startswith("image_encoder") for name in names)
    assert any("mask_downscaling" in name for name in names)
    assert any("point_embeddings.0" in name for name in names)


def test_adapters_learn_with_prompts_and_decoder_and_nothing_else_of_the_encoder() -> None:
    model = small_sam()
    prepare_parameters(model, "adapters", DEFAULT)
    encoder = [name for name in learning_parameters(model) if name.startswith("image_encoder")]
    assert encoder and all(".Adapter." in name for name in encoder)


def test_of_a_base_with_adapters_only_those_of_medsa_learn_and_none_along_depth() -> None:
    model = build_sam(replace(SMALL, adapters=("samed2d", "medsa")))
    prepare_parameters(model, "adapters", DEFAULT)
    encoder = [name for name in learning_parameters(model) if name.startswith("image_encoder")]
    assert {name.split(".")[3] for name in encoder} == {"Space_Adapter", "MLP_Adapter"}


def test_only_adapters_means_those_of_encoder_and_decoder_and_nothing_else() -> None:
    model = build_sam(replace(SMALL, adapters=("medsa",), decoder_adapters="hyp"))
    prepare_parameters(model, "only_adapters", DEFAULT)
    names = learning_parameters(model)
    assert {name.split(".")[0] for name in names} == {"image_encoder", "mask_decoder"}
    assert all("_Adapter." in name and "Depth" not in name for name in names)


def test_what_sam_med2d_never_trains_stays_in_the_paper_recipe() -> None:
    model = small_sam()
    prepare_parameters(model, "adapters", PAPER)
    prompts = {name for name in learning_parameters(model) if name.startswith("prompt_encoder")}
    assert prompts == {
        "prompt_encoder.point_embeddings.2.weight",
        "prompt_encoder.point_embeddings.3.weight",
        "prompt_encoder.no_mask_embed.weight",
    }


def test_each_recipe_has_its_own_annotator_objective_and_optimiser() -> None:
    targets, rng = disc(80, 90, 40)[None], np.random.default_rng(0)
    assert isinstance(PAPER.prompter(targets, rng), PublishedAnnotator)
    assert isinstance(DEFAULT.prompter(targets, rng), Annotator)
    assert PAPER.prompter(targets, rng).steps == DEFAULT.prompter(targets, rng).steps == 9
    assert isinstance(PAPER.objective(), PublishedObjective)
    assert isinstance(DEFAULT.objective(), RowObjective)


def test_the_paper_has_one_adam_and_ours_spares_vectors_and_hurries_the_iou_head() -> None:
    parameters = {
        "matrix": torch.nn.Parameter(torch.ones(2, 2)),
        "vector": torch.nn.Parameter(torch.ones(2)),
        "mask_decoder.iou_prediction_head.weight": torch.nn.Parameter(torch.ones(2, 2)),
    }
    adam, adamw = PAPER.optimiser(parameters), DEFAULT.optimiser(parameters)
    assert type(adam) is torch.optim.Adam and adam.param_groups[0]["lr"] == 1e-4
    assert type(adamw) is torch.optim.AdamW
    groups = [(g["weight_decay"], g["rate"], len(g["params"])) for g in adamw.param_groups]
    decay = DEFAULT.weight_decay
    assert groups == [(decay, 1.0, 1), (0.0, 1.0, 1), (decay, DEFAULT.iou_rate, 1)]
    even = replace(DEFAULT, iou_rate=1.0).optimiser(parameters)
    assert sum(len(group["params"]) for group in even.param_groups) == 3


def test_the_annotator_of_a_recipe_follows_its_seed() -> None:
    targets = disc(80, 90, 40)[None]
    for recipe in (DEFAULT, PAPER):
        first, same = (recipe.prompter(targets, np.random.default_rng(4)).first() for _ in range(2))
        for left, right in ((first.points, same.points), (first.boxes, same.boxes)):
            assert (left is None) == (right is None)
            assert left is None or torch.equal(left, right)
