"""What a run does with what it is given: which part learns, how long, with which precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch

from lib.networks.backends import choose_device
from lib.networks.openvino_encoder import has_bf16
from lib.networks.sam import AdapterSam
from lib.training.recipe import Part, trains_encoder
from lib.training.settings import AUTO, TrainSettings

SMALL_ENCODER = 20_000_000
"""Parameters up to which an encoder is trained on a CPU in minutes."""

ENOUGH_TARGETS = 50
"""Objects from which adapters learn more than they forget."""

STOCK_BYTES = 512 << 20
"""Memory for encoded examples."""
STOCK_IMAGES = {True: 320, False: 64}
"""Encoded images that are worth their time, of a small encoder and of a large one."""
MAX_VARIANTS = 32
STOCK_PHANTOMS = 64


@dataclass(frozen=True)
class RunPlan:
    """Decisions of one run.

    Attributes:
        part: what learns.
        reason: why, as a clause.
        device: where.
        autocast: reduced precision, None for float32.
        epoch_steps: batches in an epoch.
        variants: encoded ones of each image, for the decoder alone.
        phantoms: encoded ones for rehearsal, for the decoder alone.
    """

    part: Part
    reason: str
    device: torch.device
    autocast: torch.dtype | None
    epoch_steps: int
    variants: int
    phantoms: int


def plan_run(settings: TrainSettings, model: AdapterSam, images: int, targets: int) -> RunPlan:
    """Decide from the settings, the network and the amount of data.

    Args:
        settings: of the client.
        model: to be trained.
        images: labelled slices to train on.
        targets: objects in them.

    Raises:
        OptionError: a device this machine does not have.
    """
    device = choose_device(settings.device)
    part, reason = choose_part(settings, device, model, targets)
    return RunPlan(
        part=part,
        reason=reason,
        device=device,
        autocast=choose_autocast(settings.precision, device, part),
        epoch_steps=max(settings.epoch_steps, math.ceil(images / settings.train_batch_size)),
        variants=variants_of(model, images),
        phantoms=STOCK_PHANTOMS,
    )


def variants_of(model: AdapterSam, images: int) -> int:
    """How many variants of each image to encode: many of few images, few of many."""
    wanted = STOCK_IMAGES[_encoder_size(model) <= SMALL_ENCODER] // max(1, images)
    most = STOCK_BYTES // (model.config.embedding_bytes * max(1, images))
    return max(1, min(MAX_VARIANTS, most, max(2, wanted)))


def choose_part(
    settings: TrainSettings, device: torch.device, model: AdapterSam, targets: int
) -> tuple[Part, str]:
    """What learns, and why."""
    if settings.train != AUTO:
        return cast(Part, settings.train), "as asked for"
    size = _encoder_size(model)
    if targets < ENOUGH_TARGETS:
        return "decoder", f"{targets} objects are fewer than {ENOUGH_TARGETS}"
    if device.type == "cpu" and size > SMALL_ENCODER:
        return "decoder", f"an encoder of {size / 1e6:.0f} million parameters is slow on a CPU"
    return "adapters", f"{targets} objects, and the encoder is fast enough on {device.type}"


def _encoder_size(model: AdapterSam) -> int:
    return sum(p.numel() for p in model.image_encoder.parameters())


def choose_autocast(precision: str, device: torch.device, part: Part) -> torch.dtype | None:
    """Reduced precision, or None for float32.

    Args:
        precision: "bf16", "fp32", or "auto" for what is faster here.
        device: where.
        part: what learns.
    """
    if precision == "bf16":
        return torch.bfloat16
    if precision == "fp32":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    # The decoder's matrices are small: on a CPU casting them costs more than it saves.
    return torch.bfloat16 if trains_encoder(part) and has_bf16() else None
