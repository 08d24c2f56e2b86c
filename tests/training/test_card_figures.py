"""Figures on their way from an evaluation into a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.errors import CheckpointError
from lib.networks.model_card import Figure, Group, Measurement
from lib.training.card_figures import read_measurement


def part(dice: float) -> dict[str, Any]:
    known = {"dice": {"box": dice, "1": 0.5}, "dice_interval": {"box": [0, 1], "1": [0.4, 0.6]}}
    return {"n_masks": 3, **known}


def metrics() -> dict[str, Any]:
    measures = {
        f"{m}{end}": part(0.7)[f"dice{end}"] for m in ("iou", "nsd") for end in ("", "_interval")
    }
    return {
        **part(0.8),
        **measures,
        "noc85": 4.5,
        "noc85_interval": [4, 5],
        "noc90": None,
        "noc90_interval": None,
        "n_patients": 2,
        "data": "devset",
        "protocol": "noc",
        "code_version": "abc",
        "weights_sha256": "f" * 64,
        "per_modality": {"CT": part(0.9)},
        "settings": [{"zoom": "off", "precision": "fp32"}],
        "baseline": part(0.6),
    }


def figures(box: float) -> tuple[Figure, ...]:
    return Figure("box", box, 0, 1), Figure("1", 0.5, 0.4, 0.6)


def test_every_figure_arrives(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics()))
    assert read_measurement(path, "seen") == (
        Measurement(
            data="devset",
            note="seen",
            protocol="noc",
            setting="zoom off, fp32",
            n_masks=3,
            n_patients=2,
            code_version="abc",
            dice=figures(0.8),
            iou=figures(0.7),
            nsd=figures(0.7),
            clicks=(Figure("0.85", 4.5, 4, 5),),
            baseline_dice=figures(0.6),
            modalities=(Group("CT", 3, figures(0.9)),),
        ),
        "f" * 64,
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({**metrics(), "settings": []})])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"holds no figures"):
        read_measurement(path, "")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run it first"):
        read_measurement(tmp_path / "metrics.json", "")
