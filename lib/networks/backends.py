"""Where and in which arithmetic the image encoder runs, behind one protocol.

============  ======================  ==========================================================
backend       precisions              what it is
============  ======================  ==========================================================
``torch``     fp32, bf16              the fast encoder as it is; on CUDA too
``compiled``  fp32, bf16              the same through torch.compile; needs a C++ compiler
``openvino``  fp32, bf16, int8        the same through OpenVINO, CPU only; int8 is calibrated on
                                      slices, so networks for volumes have none
============  ======================  ==========================================================

fp32 of each backend equals the original network but for rounding (embeddings to about 1e-5); bf16
is about 1 % away from it and int8 a few percent, which `scripts/benchmark.py` measures.

Images are encoded one by one, also where several are handed over: the sums of a matrix product
are rounded differently in a batch, and the same image must have the same embedding whatever it
was encoded with. Encoders are not thread-safe; `lib.inference.worker` calls them from one thread.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
from typing import Protocol

import torch

from lib.errors import OptionError
from lib.networks.calibration import calibration_images
from lib.networks.encoder_network import Encodes, encoder_network
from lib.networks.openvino_encoder import OpenVinoEncoder, export_encoder, quantise
from lib.networks.sam3d import Sam3d

BACKENDS: dict[str, tuple[str, ...]] = {
    "torch": ("fp32", "bf16"),
    "compiled": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16", "int8"),
}
"""Backends of the encoder and the precisions each of them offers."""


class Encoder(Protocol):
    """Turns images, or volumes in the same way, into embeddings."""

    @property
    def backend_name(self) -> str:
        """What runs, for answers, logs and keys of embeddings: "torch fp32"."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embed normalised images (B, 3, S, S) float32 as (B, C, S/16, S/16) float32.

        Volumes have one channel and one axis more, here and there.
        """


class TorchEncoder:
    """The encoder in torch.

    Args:
        model: on its device; its encoder must not be trained while this object is used.
        precision: "fp32" or "bf16".
        compiled: through torch.compile, which takes a minute at the first image.
    """

    def __init__(self, model: Encodes, precision: str = "fp32", compiled: bool = False) -> None:
        self.backend_name = f"{'compiled' if compiled else 'torch'} {precision}"
        self._type = torch.bfloat16 if precision == "bf16" else torch.float32
        network = encoder_network(model)
        if precision == "bf16":
            # A copy: the parameters are the model's own.
            network = copy.deepcopy(network).to(self._type)
        self._network = torch.compile(network, dynamic=False) if compiled else network

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """As `Encoder.encode`."""
        rows = [self._network(image) for image in torch.split(images.to(self._type), 1)]
        return torch.cat(rows).float()


def make_encoder(model: Encodes, backend: str, precision: str) -> Encoder:
    """The encoder for a backend and a precision.

    Nothing is read from or left on the disk; a server uses `lib.networks.prepared` instead, which
    keeps what takes long. Seconds to a minute for OpenVINO, most of it for int8.

    Raises:
        OptionError: an unknown backend, a precision it does not offer, or one that this machine
            cannot run.
    """
    check_backend(backend, precision)
    check_family(model, precision)
    device = model.blank().device.type
    if backend == "openvino":
        check_cpu(device)
        exported = export_encoder(model)
        if precision == "int8" and not isinstance(model, Sam3d):
            exported = quantise(exported, calibration_images(model))
        return OpenVinoEncoder(exported, precision)
    return TorchEncoder(model, precision, compiled=backend == "compiled")


def check_backend(backend: str, precision: str) -> None:
    """Refuse a backend or precision that does not exist, or that needs what is not installed.

    Raises:
        OptionError: with the ones there are.
    """
    if precision not in BACKENDS.get(backend, ()):
        offered = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in BACKENDS.items())
        raise OptionError(
            got=f"backend {backend!r} with precision {precision!r}",
            allowed=offered,
            todo="choose one of these",
        )
    if backend == "compiled" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise OptionError(
            got="backend compiled without a C++ compiler",
            allowed="a machine with g++",
            todo="apt-get install g++, or choose backend openvino or torch",
        )
    needed = ["openvino"] if backend == "openvino" else []
    needed += ["nncf"] if precision == "int8" else []
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise OptionError(
                got=f"backend {backend} {precision} without the package {package}",
                allowed="an installation of requirements.txt",
                todo=f"pip install {package}, or choose backend torch",
            )


def check_family(model: Encodes, precision: str) -> None:
    """Refuse 8 bit for a network of volumes: what it is calibrated on are slices.

    Raises:
        OptionError: int8 for such a network.
    """
    if isinstance(model, Sam3d) and precision == "int8":
        raise OptionError(
            got=f"precision int8 for {model.config.name}",
            allowed="fp32 or bf16",
            todo="choose one of these",
        )


def check_cpu(device: str) -> None:
    """Refuse OpenVINO elsewhere than on a CPU.

    Raises:
        OptionError: another device.
    """
    if device != "cpu":
        raise OptionError(
            got=f"backend openvino on {device}",
            allowed="backend torch on this device, or device cpu",
            todo="choose --conf backend torch, or --conf device cpu",
        )


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
