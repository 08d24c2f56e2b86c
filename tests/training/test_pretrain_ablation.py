"""Variants of the pretraining: each undoes one thing, and can be trained and judged."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from lib.networks import PromptTensors, build_sam
from lib.training.pretrain import PretrainPlan
from lib.training.pretrain_ablation import Variant, default_variants, try_variant, variants
from scripts.pretrain import phantom_cases
from tests.networks.detailed import DETAILED

PLAN = PretrainPlan(steps=2, batch_size=2, bf16=False)


def changed(one: object, other: object) -> set[str]:
    return {f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)}  # type: ignore[arg-type]


def test_each_variant_differs_from_all_others_and_from_the_whole_in_one_record() -> None:
    found = default_variants(steps=10, batch_size=8, seed=3)
    whole = found.pop("all of it")
    assert len({repr(variant) for variant in found.values()}) == len(found)
    for variant in found.values():
        differences = changed(variant.architecture, whole.architecture)
        assert bool(differences) != bool(changed(variant.plan, whole.plan))
        assert variant.plan.steps == 10 and variant.plan.seed == 3


@pytest.mark.parametrize("name", list(default_variants(1, 1, 0)))
def test_every_network_of_a_variant_answers(name: str) -> None:
    model = build_sam(variants(DETAILED, PLAN)[name].architecture)
    box = PromptTensors(boxes=torch.tensor([[3.0, 3.0, 20.0, 20.0]]))
    with torch.no_grad():
        embeddings = model.encode(model.blank())
        logits, _ = model.decode_all(embeddings, box)
    assert embeddings.shape[1] == model.config.embedding_channels
    assert logits.isfinite().all() and logits.std() > 0


def test_a_variant_is_trained_and_judged_and_goes_on_where_it_was(tmp_path: Path) -> None:
    images = phantom_cases(2, seed=5)
    steps: list[int] = []
    variant = Variant(DETAILED, PLAN)
    found = try_variant(variant, [], {"phantoms": images}, tmp_path, steps.append)
    assert steps == [1, 2]
    assert set(found) == {"phantoms"} and set(found["phantoms"].dice) == {"box", "1", "3", "5"}
    longer = Variant(DETAILED, replace(PLAN, steps=3))
    try_variant(longer, [], {}, tmp_path, steps.append)
    assert steps == [1, 2, 3]
