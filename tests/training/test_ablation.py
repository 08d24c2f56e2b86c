"""Variants of the recipe differ in one thing each, and can be tried."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from lib.errors import CheckpointError, OptionError
from lib.training import ablation
from lib.training.ablation import NETWORKS, VARIANTS, Trial, build_variant, divide, try_recipe
from lib.training.annotator import InteractionPlan
from lib.training.recipe import DEFAULT, PAPER, Recipe
from tests.support.small_sam import disc_cases, disc_image, small_sam


def differences(recipe: Recipe) -> list[str]:
    names = [f.name for f in fields(Recipe) if f.name != "interaction"]
    found = [name for name in names if getattr(recipe, name) != getattr(DEFAULT, name)]
    return found + [
        f.name
        for f in fields(InteractionPlan)
        if getattr(recipe.interaction, f.name) != getattr(DEFAULT.interaction, f.name)
    ]


def test_each_variant_undoes_one_thing() -> None:
    assert VARIANTS["default"] is DEFAULT and VARIANTS["paper"] is PAPER
    undone = [differences(VARIANTS[name]) for name in VARIANTS if name not in ("default", "paper")]
    assert all(len(names) == 1 for names in undone)


def test_patients_are_on_one_side() -> None:
    images = [*disc_cases(6), disc_image("case0#k0001", "case0", 50)]
    learned, tested = divide(images, 2, seed=1)
    assert len({i.patient for i in learned}) == 2 and len(learned) + len(tested) == 7
    assert not {i.patient for i in learned} & {i.patient for i in tested}


@pytest.mark.parametrize("part", ["decoder", "adapters"])
def test_a_trial_judges_before_and_after(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "STOCK_PHANTOMS", 2)
    monkeypatch.setattr("lib.training.run_plan.MAX_VARIANTS", 2)
    recipe = replace(DEFAULT, interaction=replace(DEFAULT.interaction, corrections=1))
    trial = Trial(part, 2, 2, 2, 0)  # type: ignore[arg-type]
    before, after = try_recipe(small_sam(), disc_cases(4), recipe, trial)
    assert before.n_targets == after.n_targets == 2
    assert before.dice != after.dice


def test_networks_differ_in_their_decoder_and_start_from_the_same_weights() -> None:
    models = {name: build_variant("medsa_t", name) for name in NETWORKS}
    kinds = [model.config.decoder_adapters for model in models.values()]
    assert len(set(kinds)) == len(kinds)
    tokens = [model.mask_decoder.iou_token.weight for model in models.values()]
    assert all(token.equal(tokens[0]) for token in tokens)


def test_a_decoder_adapter_needs_a_network_of_medsa(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_variant("samed2d_t", "default").config.name == "samed2d_t"
    with pytest.raises(OptionError, match="medsa_t"):
        build_variant("samed2d_t", "HyP-Adpt")
    monkeypatch.setattr(ablation, "installed_weights", lambda name: None)
    with pytest.raises(CheckpointError, match="no weights for medsa_b"):
        build_variant("medsa_b", "HyP-Adpt")
