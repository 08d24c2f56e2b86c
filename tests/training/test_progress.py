"""What people see of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.training.observers import LogObserver, read_stats
from lib.training.progress import EpochRecord, RunStats

DICE = {"box": 0.8, "1": 0.6, "3": 0.7, "5": 0.7}


def stats(phase: str = "training") -> RunStats:
    history = (EpochRecord(0, 0.0, None, DICE, 4.0, None), EpochRecord(1, 9.0, 0.5, DICE, 3.0, 2.0))
    return RunStats("train_01", "decoder", phase, 1, 10, 75.4, 1e9, 600.2, 2.0, 0.5, history, 1)


def test_a_record_is_scored_by_the_mean_over_prompts_and_says_so() -> None:
    record = EpochRecord(3, 9.0, 0.25, DICE, 3.5, 2.0)
    assert record.score == pytest.approx(0.7)
    assert record.line() == (
        "epoch 3, loss 0.2500: Dice box 0.800  1 0.600  3 0.700  5 0.700  clicks to 0.9: 3.50"
    )
    assert EpochRecord(0, 0.0, None, DICE, 4.0, None).line().startswith("serving model: ")
    assert EpochRecord(0, 0.0, None, {}, 0.0, None).score == 0.0


def test_slicer_finds_its_keys() -> None:
    """While it runs there is no total_time: Slicer takes that for the end."""
    running, done = stats().to_json(), stats("done").to_json()
    assert running["epoch"] == 1 and running["total_epochs"] == 10
    assert running["best_metric"] == 0.7 and running["current_time"] == "0:01:15"
    assert "total_time" not in running and done["total_time"] == "0:01:15"
    assert running["eval"]["metrics"] == DICE and running["seconds_left"] == 600.2
    json.dumps(running, allow_nan=False)


def test_figures_are_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "train_stats.json"
    assert read_stats(path) == {}
    LogObserver(path).show(stats())
    assert read_stats(path) == json.loads(json.dumps(stats().to_json()))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    path.write_text("{")
    assert read_stats(path) == {}
    path.write_text("[]")
    assert read_stats(path) == {}


def test_figures_that_cannot_be_written_do_not_end_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    LogObserver(tmp_path / "file" / "stats.json").show(stats())
    LogObserver(None).show(stats())
