"""scripts/pretrain3d.py: stages from small to large cubes, and going on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lib.data.windows3d import Mixture3d
from lib.networks.checkpoint import load_checkpoint
from lib.networks.sam3d import build_sam3d
from lib.training.pretrain3d import Pretrain3dPlan
from lib.training.stages3d import Stage3d, Training3d
from scripts.pretrain3d import main, parse_arguments, train
from tests.support.small_sam3d import SMALL3D

PLAN = Pretrain3dPlan(steps=1, bf16=False, mixture=Mixture3d(real_share=0.5, stock=4))
STAGES = (Stage3d("general", 32, PLAN), Stage3d("fine", 64, replace(PLAN, learning_rate=1e-4)))
LARGE = replace(SMALL3D, image_size=64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[10:25, 12:30, 8:28] = 1
    for name, array in (("image", labels * 80.0 + 20), ("label", labels)):
        image = nibabel.Nifti1Image(array.astype(np.uint8), np.diag([1.5, 1.5, 1.5, 1]))
        nibabel.save(image, tmp_path / f"box_{name}.nii.gz")
    return tmp_path


def test_stages_follow_each_other_and_end_in_one_file(folder: Path, capsys) -> None:
    out = folder / "out"
    words = ["--config", "-", "--data", str(folder), "--held-out", str(folder), "--out", str(out)]
    options = parse_arguments([*words, "--held-out-phantoms", "1"])
    assert train(Training3d(LARGE, STAGES), options) == 0
    load_checkpoint(build_sam3d(LARGE), out / "small3d.safetensors")
    for stage in STAGES:
        (line,) = [json.loads(text) for text in (out / stage.name / "log.jsonl").open()]
        assert line["step"] == 1
        assert len(line["real_dice"]) == len(line["phantom_dice"]) == 5
    assert "1 volumes with 1 objects" in capsys.readouterr().out
    # A finished training has nothing left to do.
    again = parse_arguments([*words, "--held-out-phantoms", "0", "--resume"])
    before = (out / "small3d.safetensors").read_bytes()
    assert train(Training3d(LARGE, STAGES), again) == 0
    assert (out / "small3d.safetensors").read_bytes() == before
    assert capsys.readouterr().out.count("resumed at step 1") == 2


def test_a_file_that_does_not_exist_is_an_error_and_not_a_traceback(tmp_path: Path, capsys) -> None:
    arguments = ["--config", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("pretrain3d: ")
