"""Reading the golden numbers and comparing with them as their README prescribes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lib.networks import AdapterSam, build_sam, load_checkpoint
from lib.networks.architectures import Architecture

FOLDER = Path(__file__).resolve().parents[1] / "golden"

TINY = Architecture(
    "tiny",
    embed_dim=64,
    depth=4,
    num_heads=4,
    global_attention=(1, 3),
    prompt_dim=32,
    decoder_heads=4,
    decoder_mlp_dim=64,
    iou_hidden_dim=32,
)
"""The shapes of samed2d_tiny_weights.npz."""


def load(name: str) -> dict[str, NDArray[np.generic]]:
    """All arrays of one golden file."""
    with np.load(FOLDER / name) as arrays:
        return {key: arrays[key] for key in arrays.files if key != "__meta__"}


def below(arrays: dict[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    """The arrays whose key starts with ``prefix``, without it."""
    return {key.removeprefix(prefix): v for key, v in arrays.items() if key.startswith(prefix)}


def tensors(arrays: dict[str, NDArray[np.generic]], prefix: str) -> dict[str, torch.Tensor]:
    """As `below`, as tensors."""
    return {name: torch.tensor(value) for name, value in below(arrays, prefix).items()}


def relative_error(values: object, reference: object) -> float:
    """Largest difference, relative to the largest reference value but at least to 1."""
    left, right = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    assert left.shape == right.shape, f"{left.shape} against {right.shape}"
    difference = np.abs(left - right).max(initial=0.0)
    return float(difference / max(1.0, np.abs(right).max(initial=0.0)))


def tiny_model() -> AdapterSam:
    """The tiny network with the golden weights."""
    model = build_sam(TINY)
    load_checkpoint(model, FOLDER / "samed2d_tiny_published_layout.pth")
    return model
