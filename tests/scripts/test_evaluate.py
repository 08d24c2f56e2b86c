"""The command on images small enough for a test, with the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import evaluate


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A large and a small bright disc in a noisy image; a third one alone in another image."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:240, :300]
    large = np.hypot(rows - 80, columns - 90) < 40
    small = np.hypot(rows - 170, columns - 220) < 9
    for name, masks in (("two", [large, small]), ("one", [small])):
        values = np.where(np.any(masks, axis=0), 170, 60) + rng.normal(0, 6, large.shape)
        image, labels = values.astype(np.uint8), [f"disc {n}" for n in range(len(masks))]
        np.savez(folder / f"{name}.npz", image=image, mask=np.stack(masks), labels=labels)
    return folder


def run(data: Path, out: Path, *more: str) -> dict[str, Any]:
    command = ["--data", str(data), "--out", str(out), "--device", "cpu", "--prompts", "box,1,2"]
    assert evaluate.main([*command, *more]) == 0
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def test_settings_are_compared(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    found = run(data, out, "--zoom", "off,auto", "--precision", "fp32,bf16")
    settings = [(s["zoom"], s["precision"]) for s in found["settings"]]
    assert settings == [("off", "fp32"), ("off", "bf16"), ("auto", "fp32"), ("auto", "bf16")]
    first, second, third, _ = found["settings"]
    assert found["n_masks"] == first["n_masks"] == 3
    assert found["dice"] == first["dice"]
    cases = [(case["case"], case["label"]) for case in first["per_case"]]
    assert cases == [("one", "disc 0"), ("two", "disc 0"), ("two", "disc 1")]
    for name in ("box", "1", "2"):
        mean = np.mean([case["dice"][name] for case in first["per_case"]])
        assert first["dice"][name] == pytest.approx(mean)
        assert second["agreement"][name] > 0.95
    assert first["dice"]["box"] > 0.7
    assert "agreement" not in first
    assert not any(case["zoomed"] for case in first["per_case"])
    assert third["per_case"][0]["zoomed"]
    assert third["sizes"]["16 to 32"]["n_masks"] == 2
    for low, high, mean in ((*first["dice_interval"][n], first["dice"][n]) for n in ("box", "1")):
        assert low <= mean <= high
    baseline = found["baseline"]
    assert baseline["n_masks"] == 3
    assert baseline["dice"]["box"] > 0.9, "discs are ellipses"
    assert 0 < baseline["dice"]["1"] < 1
    table = (out / "table.md").read_text()
    assert "| all | 3 | no network |" in table
    assert table in capsys.readouterr().out
    assert "| 64 to 128 | 1 | zoom off, fp32 |" in table


def test_two_runs_give_the_same(data: Path, tmp_path: Path) -> None:
    one, two = (run(data, tmp_path / name)["settings"][0] for name in ("a", "b"))
    assert one["per_case"] == two["per_case"]


def test_every_second_target(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path, "--every", "2", "--zoom", "off")
    cases = [(case["case"], case["label"]) for case in found["settings"][0]["per_case"]]
    assert cases == [("one", "disc 0"), ("two", "disc 1")]


def test_nothing_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--data", str(tmp_path / "no"), "--out", str(tmp_path)]) == 1
    assert "no labelled image" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--prompts", "box,zero"),
        ("--zoom", "maybe"),
        ("--precision", "fp32,fp64"),
        ("--every", "0"),
        ("--protocol", "guess"),
    ],
)
def test_wrong_arguments(
    wrong: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["--data", str(tmp_path), "--out", str(tmp_path), *wrong])
    assert ended.value.code == 2
    assert repr(wrong[1]) in capsys.readouterr().err
