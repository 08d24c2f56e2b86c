"""Reading and writing weight files, safely and never in part without saying so.

Readable are the layouts of the published SAM-Med2D, SAM-Med3D and Medical SAM Adapter files
(``{"model": ..., "optimizer": ...}``, ``{"model_state_dict": ..., "args": ...}``, ``{"state_dict":
..., "model": name, ...}``), a bare state dict, a vanilla SAM file for 1024 pixels (resampled to
256), and safetensors.
Nothing is unpickled outside torch's ``weights_only`` reader. What we write is safetensors.
"""

from __future__ import annotations

import hashlib
import pickle
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from lib.errors import CheckpointError
from lib.networks.architectures import AdapterKind

SAFE_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    torch.optim.Adam,
    defaultdict,
    dict,
    Namespace,
]
"""Classes the published files mention beside their tensors: SAM-Med2D's pickled optimiser, the
arguments of SAM-Med3D's training script. Making one of them runs nothing of the file."""

_WEIGHTS_KEYS = ("model", "model_state_dict", "state_dict")
"""Under which a published file holds its tensors."""

_LISTED = 8
"""Tensor names an error message spells out before it only counts the rest."""


@dataclass(frozen=True)
class LoadReport:
    """What `load_checkpoint` did, by tensor name.

    Attributes:
        loaded: copied unchanged.
        resampled: brought from the 1024 pixel grid to this network's grid.
        missing: absent from the file and left at their initial values (adapters only).
        leftover: in the file and not used (non-tensor entries of the file).
    """

    loaded: tuple[str, ...]
    resampled: tuple[str, ...]
    missing: tuple[str, ...]
    leftover: tuple[str, ...]

    def summary(self) -> str:
        """One line for a log."""
        return (
            f"{len(self.loaded)} tensors loaded, {len(self.resampled)} resampled, "
            f"{len(self.missing)} left at their initial values, {len(self.leftover)} not used"
        )


def load_checkpoint(model: nn.Module, path: str | Path) -> LoadReport:
    """Load a weight file into ``model``; all of it or an error, never silently a part.

    A vanilla SAM file has no adapters, and one of SAM-Med2D none of Med-SA: adapters of a kind
    that the file does not know stay at their initial values and are reported as missing. Every
    other difference in names or shapes is an error, raised before anything has been changed.
    Position tables of a 1024 pixel file are resampled bilinearly (SPECS of SAM-Med2D's loader:
    ``align_corners=False``).

    Raises:
        CheckpointError: unreadable, unsafe, or not for this network; names the tensors.
    """
    path = Path(path)
    tensors, leftover = read_tensors(path)
    target = model.state_dict()
    prepared: dict[str, torch.Tensor] = {}
    resampled: list[str] = []
    misfits: list[str] = []
    for name, tensor in tensors.items():
        if name not in target:
            misfits.append(f"{name} (unknown)")
        elif tensor.shape == target[name].shape:
            prepared[name] = tensor
        elif (fitted := _resample(name, tensor, target[name].shape)) is not None:
            prepared[name] = fitted
            resampled.append(name)
        else:
            misfits.append(f"{name} {tuple(tensor.shape)}, not {tuple(target[name].shape)}")
    missing = [name for name in target if name not in tensors]
    there = {kind_of_adapter(name) for name in tensors}
    lacking = [name for name in missing if kind_of_adapter(name) in (None, *there)]
    if misfits or lacking:
        raise CheckpointError(
            got=f"{path.name} does not fit this network; {_differences(misfits, lacking)}",
            allowed="exactly this network's tensors, or those of a vanilla SAM of its size",
            todo="check that file and architecture belong together",
        )
    model.load_state_dict(prepared, strict=False)
    loaded = tuple(name for name in prepared if name not in resampled)
    return LoadReport(loaded, tuple(resampled), tuple(missing), leftover)


def kind_of_adapter(name: str) -> AdapterKind | None:
    """Whose adapters a tensor belongs to, by its name; None where it is no adapter's."""
    if ".Adapter." in name:
        return "samed2d"
    return "medsa" if "_Adapter." in name else None


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Read a weight file: its tensors by name, and the names of what else it holds.

    Raises:
        CheckpointError: missing, damaged, unsafe, or without tensors.
    """
    if not path.is_file():
        raise CheckpointError(
            got=f"no weight file at {path}", todo="run scripts/get_weights.py, or correct the path"
        )
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            with torch.serialization.safe_globals(SAFE_GLOBALS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            got=f"{path.name} cannot be read safely ({reason})",
            allowed="safetensors, or a PyTorch file that holds tensors and nothing executable",
            todo="download it again and verify its SHA-256",
        ) from error
    return _tensors_of(content, path)


def save_weights(
    model: nn.Module,
    path: Path,
    *,
    dtype: torch.dtype = torch.float32,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model's state dict as safetensors; complete or not at all.

    Args:
        model: whose ``state_dict()`` is written.
        path: ends in ``.safetensors``.
        dtype: floating tensors are stored in it; float16 halves the file.
        metadata: text pairs kept in the file's header.
    """
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    unfinished = path.with_name(path.name + ".part")
    save_file(tensors, unfinished, metadata=dict(metadata or {}))
    # safetensors lets only the writer read it; a server often runs as another user.
    unfinished.chmod(0o644)
    unfinished.replace(path)


def read_metadata(path: Path) -> dict[str, str]:
    """The text pairs in the header of a safetensors file.

    Raises:
        CheckpointError: no such file, or a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            got=f"{path.name}, whose header cannot be read ({error})",
            allowed="a complete safetensors file",
            todo="install it again with scripts/get_weights.py",
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors_of(content: object, path: Path) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Split what a file holds into its tensors and the names of the rest."""
    beside: list[str] = []
    holders = content if isinstance(content, dict) else {}
    holder = next((key for key in _WEIGHTS_KEYS if isinstance(holders.get(key), dict)), None)
    if holder is not None:
        beside = [str(key) for key in holders if key != holder]
        content = holders[holder]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            got=f"{path.name} holds {type(content).__name__} where a state dict should be",
            allowed="a state dict, or a dict with one under " + ", ".join(_WEIGHTS_KEYS),
            todo="check where the file comes from",
        )
    tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
    others = [str(k) for k, v in content.items() if not isinstance(v, torch.Tensor)]
    if others:
        raise CheckpointError(
            got=f"{path.name} has entries that are no tensors: {_list(others)}",
            allowed="a state dict, or a dict with one under " + ", ".join(_WEIGHTS_KEYS),
            todo="check where the file comes from",
        )
    return tensors, tuple(beside)


def _resample(name: str, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """A position table resampled to ``shape``; None if this tensor is no such table."""
    if name.endswith("image_encoder.pos_embed") and tensor.shape[-1] == shape[-1]:
        grid = tensor.permute(0, 3, 1, 2).float()
        fitted = functional.interpolate(grid, tuple(shape[1:3]), mode="bilinear")
        return fitted.permute(0, 2, 3, 1)
    if name.endswith((".attn.rel_pos_h", ".attn.rel_pos_w")) and tensor.shape[-1] == shape[-1]:
        table = tensor[None, None].float()
        return functional.interpolate(table, tuple(shape), mode="bilinear")[0, 0]
    return None


def _differences(misfits: list[str], lacking: list[str]) -> str:
    parts = []
    if misfits:
        parts.append(f"{len(misfits)} tensors do not fit: {_list(misfits)}")
    if lacking:
        parts.append(f"{len(lacking)} tensors are missing: {_list(lacking)}")
    return "; ".join(parts)


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
