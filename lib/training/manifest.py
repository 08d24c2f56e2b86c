"""What a published version says of itself: where it comes from and how good it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import CheckpointError

FILE = "manifest.json"
BASE = "base"
"""Name of what serves before anything was published: the weight file itself."""

Fact = str | int | float | bool | None
"""What JSON can hold in one place."""


@dataclass(frozen=True)
class VersionFacts:
    """What a training knows of its result.

    Attributes:
        recipe: name of the recipe.
        trained: which part learned, see `lib.training.recipe.PARTS`.
        data_sha256: digest of the labelled slices, see `lib.data.labelled_slices`.
        n_images: labelled slices learned from.
        seen: ids of all patients any training of this line learned from (`lib.data.split`).
        metrics: prompt ("box", "1", "3", "5") -> {"before": Dice, "after": Dice}.
        gate: what the gate found.
    """

    recipe: str
    trained: str
    data_sha256: str
    n_images: int
    seen: tuple[str, ...] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    gate: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """One version.

    Attributes:
        name: "v0001".
        architecture: of the network.
        base_sha256: of the weight file that the version's tensors lie over.
        ancestors: what served when this was published, what served when that was published, and
            so on to the first version; newest first.
        created: when, ISO 8601, UTC.
        code_version: state of this project's source, see `lib.training.code_version`.
        weights_sha256, weights_bytes: of the version's own weight file.
        encoder_sha256: of the image encoder's tensors; empty where they are those of the base.
        recipe, trained, data_sha256, n_images, seen, metrics, gate: see `VersionFacts`. A figure
            that was no number is None.
    """

    name: str
    architecture: str
    base_sha256: str
    ancestors: tuple[str, ...]
    created: str
    code_version: str
    weights_sha256: str
    weights_bytes: int
    encoder_sha256: str
    recipe: str
    trained: str
    data_sha256: str
    n_images: int
    seen: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, float | None]]
    gate: Mapping[str, Fact]

    @property
    def parent(self) -> str | None:
        """What served when this was published; None for the base weights."""
        return self.ancestors[0] if self.ancestors else None

    @property
    def encoder_changed(self) -> bool:
        """Whether images are encoded otherwise than by the base."""
        return self.encoder_sha256 != ""

    def to_json(self) -> str:
        """As text; numbers that JSON does not have (NaN) become null, unknown things their text."""
        content = {f.name: _finite(getattr(self, f.name)) for f in fields(self)}
        return json.dumps(content, indent=2, allow_nan=False, default=str) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest in the folder of a version.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    try:
        return _manifest_of(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            got=f"version {folder.name} without a manifest that can be read ({error})",
            allowed=f"a complete {FILE}",
            todo="go to another version with scripts/models.py rollback, or train again",
        ) from error


def _manifest_of(content: Any) -> Manifest:
    """Check names and types; TypeError or ValueError where they are others."""
    if not isinstance(content, dict) or set(content) != {f.name for f in fields(Manifest)}:
        raise ValueError("its entries are not those of a manifest")
    kinds: dict[str, type] = {"weights_bytes": int, "n_images": int, "metrics": dict, "gate": dict}
    kinds |= {"ancestors": list, "seen": list}
    for name, value in content.items():
        kind = kinds.get(name, str)
        if type(value) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
        if kind is list and not all(isinstance(item, str) for item in content[name]):
            raise TypeError(f"{name} holds something that is no text")
    if not all(isinstance(figures, dict) for figures in content["metrics"].values()):
        raise TypeError("metrics hold something that is no dict")
    lists = {name: tuple(content[name]) for name in ("ancestors", "seen")}
    return Manifest(**{**content, **lists})


def _finite(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
