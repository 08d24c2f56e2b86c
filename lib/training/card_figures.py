"""From the ``metrics.json`` of ``scripts/evaluate.py`` to what a model card says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.errors import CheckpointError
from lib.networks.model_card import Figure, Group, Measurement

GOALS = {"noc85": "0.85", "noc90": "0.90"}


def read_measurement(path: Path, note: str) -> tuple[Measurement, str]:
    """The figures of the first setting of an evaluation, and the SHA-256 of the weights.

    Args:
        path: of a metrics.json.
        note: what the reader must know of the data.

    Raises:
        CheckpointError: no such file, or another one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _measurement(content, note), str(content["weights_sha256"])
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            got=f"{path}, which holds no figures ({type(error).__name__}: {error})",
            allowed="a metrics.json of scripts/evaluate.py",
            todo="run it first",
        ) from error


def _measurement(content: Mapping[str, Any], note: str) -> Measurement:
    setting = content["settings"][0]
    clicks = [
        Figure(name, float(content[key]), *map(float, content[f"{key}_interval"]))
        for key, name in GOALS.items()
        if content[key] is not None
    ]
    return Measurement(
        data=str(content["data"]),
        note=note,
        protocol=str(content["protocol"]),
        setting=f"zoom {setting['zoom']}, {setting['precision']}",
        n_masks=int(content["n_masks"]),
        n_patients=int(content["n_patients"]),
        code_version=str(content["code_version"]),
        dice=_figures(content, "dice"),
        iou=_figures(content, "iou"),
        nsd=_figures(content, "nsd"),
        clicks=tuple(clicks),
        baseline_dice=_figures(content["baseline"], "dice"),
        modalities=tuple(
            Group(name, int(part["n_masks"]), _figures(part, "dice"))
            for name, part in content["per_modality"].items()
        ),
    )


def _figures(part: Mapping[str, Any], measure: str) -> tuple[Figure, ...]:
    ends = part[f"{measure}_interval"]
    return tuple(
        Figure(name, float(mean), *map(float, ends[name])) for name, mean in part[measure].items()
    )
