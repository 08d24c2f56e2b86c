"""One published version: its folder, its names, its tensors.

A version's weight file holds the tensors that differ from the base weights, as float32 and so
exactly as they were evaluated; whatever the base file stores (float16, say), they are compared with
what `load_checkpoint` makes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from lib.errors import CheckpointError
from lib.networks.checkpoint import kind_of_adapter, load_checkpoint
from lib.networks.encoder_network import Encodes, build_like
from lib.networks.weights import VERSION_DIGITS
from lib.training.manifest import Manifest

WEIGHTS = "weights.safetensors"
ENCODER = "image_encoder."
"""Tensors whose names begin so decide the embedding of an image."""

DIGITS = 8
"""Hexadecimal digits of a SHA-256 in the names of versions of one registry."""


@dataclass(frozen=True)
class Version:
    """A complete version.

    Attributes:
        name: "v0001".
        folder: where it lies.
        manifest: what it says of itself.
        base_version: architecture and base weights in one word.
    """

    name: str
    folder: Path
    manifest: Manifest
    base_version: str

    @property
    def weights(self) -> Path:
        """The changed tensors, as safetensors."""
        return self.folder / WEIGHTS

    @property
    def model_version(self) -> str:
        """Base, name and content in one word: "samed2d_t-0123456789ab-v0001-01234567"."""
        return f"{self.base_version}-{self.name}-{self.manifest.weights_sha256[:DIGITS]}"

    @property
    def encoder_version(self) -> str:
        """Equal for versions that encode images equally; the base's where that is unchanged."""
        return encoder_version(self.base_version, self.manifest.encoder_sha256)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The changed tensors, checked against the manifest.

        Raises:
            CheckpointError: the file is gone or damaged.
        """
        return parse_tensors(self.read())

    def read(self) -> bytes:
        """The weight file as it was published.

        Raises:
            CheckpointError: the file is gone or damaged.
        """
        try:
            data = self.weights.read_bytes()
        except OSError as error:
            raise self._damaged(f"cannot be read ({error})") from error
        if hashlib.sha256(data).hexdigest() != self.manifest.weights_sha256:
            raise self._damaged("have another SHA-256 than its manifest says")
        return data

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(
            got=f"version {self.name}, whose weights {what}",
            allowed="the file as it was published",
            todo="restore it, or go to another version with scripts/models.py rollback",
        )


def apply_version(model: nn.Module, version: Version) -> None:
    """Load a version over the base weights; all of it or an error.

    Args:
        model: with the base weights and nothing else.
        version: of the same base.

    Raises:
        CheckpointError: the file is damaged, or not for this network; nothing was changed.
    """
    apply_tensors(model, version.tensors(), f"version {version.name}")


def apply_tensors(model: nn.Module, tensors: Mapping[str, torch.Tensor], origin: str) -> None:
    """Load some tensors over those of a network; all of them or an error.

    Args:
        model: to be changed.
        tensors: by the names of its state dict.
        origin: where they come from, for the error.

    Raises:
        CheckpointError: a name or shape the network does not have; nothing was changed.
    """
    own = model.state_dict()
    wrong = [n for n, t in tensors.items() if n not in own or t.shape != own[n].shape]
    if wrong:
        raise CheckpointError(
            got=f"{origin} with tensors that do not fit this network: {', '.join(wrong[:8])}",
            allowed="tensors with the names and shapes of the network",
            todo="check that version and architecture belong together",
        )
    model.load_state_dict(dict(tensors), strict=False)


def parse_tensors(data: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: it is none.
    """
    try:
        return load(data)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            got=f"changed tensors that cannot be read ({error})",
            allowed="a safetensors file",
            todo="publish the version again",
        ) from error


def changed_tensors(model: Encodes, base: Path) -> dict[str, torch.Tensor]:
    """Which tensors of a network differ from the base weights.

    Args:
        model: on any device.
        base: weight file. What it does not say counts as different, but for Med-SA's adapters,
            which start alike everywhere.

    Returns:
        By name, in order; float32 on the CPU.

    Raises:
        CheckpointError: a base that does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        original = build_like(model)
    report = load_checkpoint(original, base)
    old = original.state_dict()
    unknown = {name for name in report.missing if kind_of_adapter(name) != "medsa"}
    changed = {}
    for name, tensor in sorted(model.state_dict().items()):
        own = tensor.detach().cpu()
        own = own.float() if own.is_floating_point() else own
        if name in unknown or not torch.equal(own, old[name]):
            changed[name] = own.contiguous()
    return changed


def encoder_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the encoder's tensors among ``tensors``; empty where there are none."""
    names = sorted(name for name in tensors if name.startswith(ENCODER))
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest() if names else ""


def encoder_version(base_version: str, digest: str) -> str:
    """What encodes images, in one word.

    Args:
        base_version: architecture and base weights in one word.
        digest: of the encoder's tensors that differ from the base, see `encoder_digest`.
    """
    return f"{base_version}-encoder-{digest[:VERSION_DIGITS]}" if digest else base_version
