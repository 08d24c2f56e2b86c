"""Runs on volumes: they learn from what their plan says, save, and go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data.windows3d import Mixture3d, Window3d
from lib.networks.checkpoint import load_checkpoint
from lib.networks.sam3d import build_sam3d
from lib.training.annotator3d import Annotator3d, PublishedAnnotator3d
from lib.training.pretrain3d import Pretrain3dPlan, Pretrainer3d, collate3d
from tests.support.small_sam3d import SMALL3D
from tests.training.test_loop3d import balls

PLAN = Pretrain3dPlan(steps=2, bf16=False, mixture=Mixture3d(stock=4, objects=2))


def make_run(out: Path, plan: Pretrain3dPlan = PLAN) -> Pretrainer3d:
    torch.manual_seed(0)
    return Pretrainer3d(build_sam3d(SMALL3D), [], plan, out)


def test_collate_lists_objects_of_each_cube():
    windows = [
        Window3d(np.full((32, 32, 32), n, np.float32), np.ones((n, 32, 32, 32), bool))
        for n in (1, 2)
    ]
    batch = collate3d(windows)
    assert batch.volumes.shape == (2, 1, 32, 32, 32) and batch.targets.shape[0] == 3
    assert batch.volume_of.tolist() == [0, 1, 1] and batch.volumes[1].mean() == 2


def test_a_run_from_phantoms_to_a_file_and_on(tmp_path):
    run = make_run(tmp_path)
    steps = []
    run.run(lambda r, result: steps.append(r.step))
    assert steps == [1, 2]
    run.save()
    again = make_run(tmp_path, replace(PLAN, steps=3))
    assert again.resume() and again.step == 2
    again.run(lambda r, result: steps.append(r.step))
    assert steps == [1, 2, 3]
    model = build_sam3d(SMALL3D)
    load_checkpoint(model, tmp_path / "small3d.safetensors")
    for name, value in run.averaged_model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("recipe", "kind"), [("default", Annotator3d), ("paper", PublishedAnnotator3d)]
)
def test_the_recipe_decides_who_clicks(tmp_path, recipe, kind):
    run = make_run(tmp_path, replace(PLAN, recipe=recipe))
    assert isinstance(run._prompter(balls(), np.random.default_rng(0)), kind)
