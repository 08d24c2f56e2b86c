"""The command on a volume small enough for a test, with the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scripts import evaluate_volume


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A bright ball in a dark volume."""
    i, j, k = np.meshgrid(np.arange(48), np.arange(40), np.arange(9), indexing="ij")
    ball = np.hypot(np.hypot(i - 24, j - 18), (k - 4) * 3) < 11
    noise = np.random.default_rng(0).normal(0, 8, ball.shape)
    folder = tmp_path / "data"
    folder.mkdir()
    for name, array in (
        ("image", np.where(ball, 160, -80) + noise),
        ("label", ball),
    ):
        image = nib.Nifti1Image(array.astype(np.int16), np.eye(4))
        nib.save(image, folder / f"ball_{name}.nii.gz")
    return folder


def test_a_table_and_a_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    command = ["--data", str(data), "--out", str(out), "--corrections", "1", "--device", "cpu"]
    assert evaluate_volume.main(command) == 0
    report = json.loads((out / "metrics.json").read_text())
    (row,) = report["objects"]
    assert (row["case"], row["label"]) == ("ball", "1")
    assert len(row["score"]["dice"]) == 2
    assert row["score"]["dice"][0] > 0.5
    assert report["means"]["mean of objects"] == row["score"]["dice"]
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert "| ball | 1 | 7 |" in table


def test_nothing_to_measure(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["--data", str(data), "--out", str(tmp_path), "--min-slices", "99"]
    assert evaluate_volume.main(command) == 1
    assert "large enough" in capsys.readouterr().err
    assert evaluate_volume.main(["--data", str(tmp_path / "no"), "--out", str(tmp_path)]) == 1
    assert "no labelled volume" in capsys.readouterr().err
