"""A network of a few thousand parameters and images it can learn by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lib.data.pool import LabelledImage
from lib.networks import AdapterSam, build_sam
from lib.networks.architectures import Architecture
from lib.training.loop import Batch

SMALL = Architecture(
    "small",
    embed_dim=32,
    depth=2,
    num_heads=2,
    global_attention=(0, 1),
    prompt_dim=32,
    decoder_mlp_dim=64,
    iou_hidden_dim=32,
    resize="area",
)


def small_sam(seed: int = 0) -> AdapterSam:
    """An untrained network in training mode, always the same for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_sam(SMALL).train()


def disc(x: int, y: int, radius: int, size: int = 256) -> np.ndarray:
    """A mask (size, size)."""
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def disc_batch() -> Batch:
    """Two images: one bright disc, and two discs."""
    targets = np.stack([disc(80, 90, 40), disc(60, 60, 30), disc(180, 170, 50)])
    images = np.zeros((2, 256, 256), dtype=np.float32)
    images[0][targets[0]] = 200
    images[1][targets[1] | targets[2]] = 150
    return Batch(
        torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1), targets, torch.tensor([0, 1, 1])
    )


def disc_image(name: str, patient: str, seed: int, size: int = 96) -> LabelledImage:
    """A labelled image with a bright disc on noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(30, size - 30, 2)
    mask = disc(int(x), int(y), int(rng.integers(12, 24)), size)
    image = rng.normal(40, 8, (size, size)).astype(np.float32)
    image[mask] += 120
    return LabelledImage(name, patient, image, mask[None], ("disc",))


def disc_cases(count: int, seed: int = 0) -> tuple[LabelledImage, ...]:
    """One disc image for each of so many patients."""
    return tuple(disc_image(f"case{n}#k0000", f"case{n}", seed + n) for n in range(count))


def save_base(folder: Path, name: str = "samed2d_t") -> Path:
    """Weight file of an untrained compact network."""
    from tests.support.studies import write_random_weights

    return write_random_weights(folder / f"{name}.safetensors")
