"""The figures of the simulation, and one short run against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.networks import installed_weights
from scripts._simulation.curves import area, compare, draw, gain_area, interval, needed
from scripts._simulation.run import divide
from tests.support.server import REPOSITORY
from tests.support.small_sam import disc_cases

SCRIPT = REPOSITORY / "scripts" / "simulate_annotation.py"


def curve(*points: tuple[int, int, float]) -> list[dict[str, object]]:
    return [{"labelled": n, "clicks": c, "dice": {"1": d, "3": d}} for n, c, d in points]


FLAT = curve((0, 0, 0.5), (2, 4, 0.5), (4, 8, 0.5))
RISING = curve((0, 0, 0.5), (2, 4, 0.7), (4, 9, 0.8))


def test_the_area_is_the_mean_height() -> None:
    assert area(FLAT) == pytest.approx(0.5)
    assert area(RISING) == pytest.approx((0.6 * 2 + 0.75 * 2) / 4)
    assert gain_area(RISING) == pytest.approx(0.175)
    assert area(RISING[:1]) == pytest.approx(0.5)


def test_what_is_needed_for_a_goal() -> None:
    assert needed(RISING, "labelled", 0.7) == 2
    assert needed(RISING, "clicks", 0.75) == 9
    assert needed(FLAT, "clicks", 0.6) == float("inf")


def test_an_interval_holds_the_mean_and_narrows() -> None:
    wide = interval([0.1, 0.9, 0.5])
    assert wide.low < wide.mean == pytest.approx(0.5)
    assert wide.mean < wide.high
    sure = interval([0.5, 0.5, 0.5])
    assert (sure.low, sure.high) == (0.5, 0.5)
    assert interval([0.5, float("inf")]).mean == 0.5
    assert np.isnan(interval([]).mean)


def test_the_table_compares_seed_by_seed() -> None:
    rows = compare({"random": [FLAT, FLAT], "hybrid": [RISING, RISING]}, "random")
    assert rows[2].startswith("| random | 2 | 0.500 (0.500 to 0.500)")
    assert "| 1.350 (1.350 to 1.350) | 0.175 (0.175 to 0.175) |" in rows[3]


def test_the_picture_is_written(tmp_path: Path) -> None:
    draw({"random": [FLAT, FLAT], "hybrid": [RISING, RISING[:2]]}, "discs", tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_every_third_patient_tests() -> None:
    pool, test = divide(disc_cases(7))
    assert [image.patient for image in test] == ["case2", "case5"]
    assert len(pool) == 5


@pytest.mark.parametrize("wrong", [["--strategies", "luck"], ["--checkpoint", "nowhere.pth"]])
def test_wrong_arguments(tmp_path: Path, wrong: list[str]) -> None:
    result = run(tmp_path, *wrong)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.server
@pytest.mark.timeout(600)
def test_a_short_run_learns_saves_and_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "discs"
    data.mkdir()
    for case in disc_cases(5):
        np.savez(data / f"{case.patient}.npz", image=case.image, mask=case.masks, labels=["disc"])
    # What is clicked becomes the label, so it takes a network that finds something.
    base = installed_weights("samed2d_t")
    arguments = ["--strategies", "sequential", "--seeds", "1", "--rounds", "1", "--steps", "1"]
    arguments += ["--publish", "force", "--checkpoint", str(base)]
    result = run(tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    (points,) = json.loads((tmp_path / "out" / "discs.json").read_text()).values()
    start, end = points
    assert (start["labelled"], start["clicks"], start["version"]) == (0, 0, "")
    assert end["labelled"] == 2 and 2 <= end["clicks"] <= 10 and end["version"] == "v0001"
    assert len(set(end["chosen"])) == 2
    assert end["reasons"][0] == "the first case of this seed"
    assert "| sequential | 1 |" in result.stdout
    again = run(tmp_path, *arguments)
    assert again.returncode == 0 and "clicks, v0001" not in again.stdout, "nothing is done twice"


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--data", str(tmp_path / "discs")]
    return subprocess.run(
        [*command, "--out", str(tmp_path / "out"), *arguments],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
