"""Where and in which arithmetic the image encoder runs, behind one protocol."""

from __future__ import annotations

from typing import Protocol

import torch

from lib.errors import OptionError
from lib.networks.sam import AdapterSam

BACKENDS: dict[str, tuple[str, ...]] = {"torch": ("fp32",)}
"""Backends of the encoder and the precisions each of them offers."""


class Encoder(Protocol):
    """Turns images into embeddings; thread-safe as far as torch is."""

    @property
    def backend_name(self) -> str:
        """What ran, for answers and logs: "torch fp32"."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embed normalised images (B, 3, S, S) float32 as (B, C, S/16, S/16) float32."""


class TorchEncoder:
    """The network as it is, in float32; held to the golden numbers."""

    backend_name = "torch fp32"

    def __init__(self, model: AdapterSam) -> None:
        self._model = model

    @torch.inference_mode()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embed normalised images (B, 3, S, S) as (B, C, S/16, S/16)."""
        return self._model.encode(images)


def make_encoder(model: AdapterSam, backend: str, precision: str) -> Encoder:
    """The encoder for a backend and a precision.

    Raises:
        OptionError: an unknown backend, or a precision it does not offer.
    """
    if precision not in BACKENDS.get(backend, ()):
        offered = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in BACKENDS.items())
        raise OptionError(
            got=f"backend {backend!r} with precision {precision!r}",
            allowed=offered,
            todo="choose one of these",
        )
    return TorchEncoder(model)


def choose_device(wanted: str = "auto") -> torch.device:
    """The device named by the options; "auto" takes CUDA where there is one.

    Raises:
        OptionError: CUDA was asked for and is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            got="device cuda on a machine without a usable CUDA device",
            allowed="cpu or auto",
            todo="start with --conf device cpu, or install the driver",
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)
