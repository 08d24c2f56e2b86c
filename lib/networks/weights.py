"""Which weight files this project knows by name, and where they lie."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from lib.networks.architectures import ARCHITECTURES, find_architecture
from lib.networks.architectures3d import (
    ARCHITECTURES3D,
    check_architecture,
    find_architecture3d,
)
from lib.networks.checkpoint import load_checkpoint, read_metadata, sha256_of
from lib.networks.sam import AdapterSam, build_sam
from lib.networks.sam3d import Sam3d, build_sam3d

WEIGHTS_FOLDER = Path(__file__).resolve().parents[2] / "apps" / "samed2d" / "weights"
"""Holds ``<architecture>.safetensors``: the compact model's are shipped, others are fetched."""

VERSION_DIGITS = 12
"""Hexadecimal digits of the weights' SHA-256 that make a version: no two files meet by chance."""

logger = logging.getLogger(__name__)


def installed_weights(name: str, folder: Path = WEIGHTS_FOLDER) -> Path | None:
    """Path of the weight file installed for an architecture, or for its base; None without one."""
    path = folder / f"{name}.safetensors"
    if path.is_file():
        return path
    base = ARCHITECTURES[name].base if name in ARCHITECTURES else None
    return None if base is None else installed_weights(base, folder)


def is_ready_to_click(path: Path) -> bool:
    """Whether installed weights segment medical images without further training.

    Vanilla SAM's do not: `lib.networks.published` marks its files, whose adapters add nothing yet.

    Raises:
        CheckpointError: a damaged file.
    """
    return read_metadata(path).get("adapters") != "neutral"


def build_model(name: str, checkpoint: str | Path | None = None) -> AdapterSam:
    """Build a network by name with trained weights, in evaluation mode.

    Args:
        name: an architecture, see `lib.networks.architectures.ARCHITECTURES`.
        checkpoint: a weight file; None takes the file installed for that name. Where there is
            none the weights stay random and a warning is logged.

    Raises:
        OptionError: no such architecture.
        CheckpointError: the file cannot be used with it.
    """
    model = build_sam(find_architecture(name))
    _load(model, name, checkpoint)
    return model


def build_model3d(name: str, checkpoint: str | Path | None = None) -> Sam3d:
    """As `build_model`, for a network of volumes: "sammed3d_t", "sammed3d_b".

    Raises:
        OptionError: no such architecture.
        CheckpointError: the file cannot be used with it.
    """
    model = build_sam3d(find_architecture3d(name))
    _load(model, name, checkpoint)
    return model


def build_network(name: str, checkpoint: str | Path | None = None) -> AdapterSam | Sam3d:
    """As `build_model` or `build_model3d`, whichever knows the name.

    Raises:
        OptionError: neither does.
        CheckpointError: the file cannot be used with it.
    """
    check_architecture(name)
    return (build_model3d if name in ARCHITECTURES3D else build_model)(name, checkpoint)


def _load(model: nn.Module, name: str, checkpoint: str | Path | None) -> None:
    path = Path(checkpoint) if checkpoint is not None else installed_weights(name)
    if path is None:
        logger.warning("%s: no weights installed, it starts from random numbers", name)
        return
    report = load_checkpoint(model, path)
    logger.info("%s from %s: %s", name, path, report.summary())


def version_of(name: str, weights: Path | None) -> str:
    """Architecture and weights in one word: "samed2d_t-0123456789ab", "samed2d_t-untrained"."""
    if weights is None:
        return f"{name}-untrained"
    return version_name(name, sha256_of(weights))


def version_name(name: str, sha256: str) -> str:
    """As `version_of`, for weights whose SHA-256 is known."""
    return f"{name}-{sha256[:VERSION_DIGITS]}"
