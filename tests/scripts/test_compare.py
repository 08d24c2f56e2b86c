"""Comparing served models on volumes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.errors import OptionError
from lib.imaging.volume import read_volume
from lib.server.task import write_masks
from scripts import compare as script
from scripts._command import FAILED
from scripts._compare import measure as measuring
from scripts._compare.rows import Row, markdown, read_rows, write_rows
from scripts._compare.user import segment
from tests.support.tiny3d import ball

SHAPE = (30, 28, 12)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A volume with two balls."""
    labels = ball(SHAPE, (9, 9, 5), 4).astype(np.uint8) + 2 * ball(SHAPE, (20, 18, 6), 5)
    for name, array in (("image", labels * 50.0), ("label", labels.astype(np.uint8))):
        image = nib.Nifti1Image(array, np.eye(4))
        nib.save(image, tmp_path / f"balls_{name}.nii.gz")
    return tmp_path


class Fake:
    """Finds a ball of the given radius around the first click; notes the requests."""

    def __init__(self, radius: float) -> None:
        self.radius = radius
        self.requests: list[dict] = []

    def __call__(self, request):
        self.requests.append(request)
        volume = read_volume(Path(request["image"]))
        mask = ball(SHAPE, request["foreground"][0], self.radius)
        masks = {k: mask[:, :, k].T for k in range(SHAPE[2]) if mask[:, :, k].any()}
        return str(write_masks(masks, volume, ".nrrd")), {"model_version": "fake-1"}


def target() -> np.ndarray:
    return np.ascontiguousarray(ball(SHAPE, (9, 9, 5), 4).transpose(2, 1, 0))


def test_a_model_of_volumes_is_done_when_nothing_is_wrong(data: Path) -> None:
    fake = Fake(4)
    session = segment(fake, data / "balls_image.nii.gz", target(), 10, by_slice=False)
    assert session.dice == (1.0,) and session.version == "fake-1" and len(session.seconds) == 1
    assert fake.requests[0]["foreground"] == [[9, 9, 5]]


def test_clicks_are_collected(data: Path) -> None:
    fake = Fake(3)
    session = segment(fake, data / "balls_image.nii.gz", target(), 3, by_slice=False)
    assert len(session.dice) == 3 and 0 < session.dice[0] < 1
    assert [len(r["foreground"]) for r in fake.requests] == [1, 2, 3]
    fake = Fake(6)
    segment(fake, data / "balls_image.nii.gz", target(), 2, by_slice=False)
    assert len(fake.requests[1]["background"]) == 1


def test_a_model_of_slices_is_asked_slice_by_slice(data: Path) -> None:
    fake = Fake(4)
    session = segment(fake, data / "balls_image.nii.gz", target(), 20, by_slice=True)
    assert all(np.diff(session.dice) >= 0)
    asked = [{p[2] for p in (*r["foreground"], *r["background"])} for r in fake.requests]
    assert all(len(slices) == 1 for slices in asked)
    assert len(set.union(*asked)) > 3


ROW = Row("samed2d", "v-1", "balls", "1", 300, (0.5, 0.9), (2.0, 0.1), 700.0)


def test_rows_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    assert read_rows(file) == []
    write_rows(file, [ROW])
    assert read_rows(file) == [ROW]
    file.write_text("[]")
    with pytest.raises(OptionError, match=r"rows\.json"):
        read_rows(file)


def test_the_tables() -> None:
    other = Row("sammed3d", "w-1", "balls", "1", 300, (0.25,), (4.0,), None)
    text = markdown([ROW, other])
    first, second = (line for line in text.splitlines() if line.startswith("| `sam"))
    assert first.split(" | ")[2:8] == [
        "0.500",
        "0.900",
        "0.900",
        "0.900",
        "1 of 1, median 2",
        "2.00",
    ]
    assert "0 of 1" in second and "700" in first
    assert "| balls, 1 | 300 | 0.50, 0.90, 0.90 | 0.25, 0.25, 0.25 |" in text


def test_only_what_is_missing_is_measured(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = ["--data", str(data), "--models", "samed2d_volume", "--prompts", "1"]
    arguments += ["--out", str(tmp_path / "out.json"), "--conf", "backend", "torch"]
    arguments += ["--conf", "architecture", "samed2d_t"]
    monkeypatch.setattr(measuring, "MIN_VOXELS", 10)
    monkeypatch.setattr(script, "run_apart", measuring.measure)
    assert script.main(arguments) == script.DONE
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {row["object"] for row in rows} == {"1", "2"}
    assert rows[0]["object"] == "2" and rows[0]["version"].startswith("samed2d_t-")
    assert "| `samed2d_volume` |" in capsys.readouterr().out
    monkeypatch.setattr(measuring, "segment", None)
    assert script.main(arguments) == script.DONE
    assert len(json.loads((tmp_path / "out.json").read_text())["rows"]) == 2


def test_failures_are_one_sentence(tmp_path: Path, capsys) -> None:
    arguments = ["--data", str(tmp_path), "--models", "nobody", "--out", str(tmp_path / "o.json")]
    assert script.main(arguments) == FAILED
    assert "nobody" in capsys.readouterr().err
