"""Loading a checkpoint of Medical SAM Adapter's public code into the reference network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.errors import CheckpointError
from lib.networks.architectures import Architecture
from lib.networks.checkpoint import read_tensors
from lib.networks.medsa_reference import ReferenceAttention, ReferenceMedSa

_LISTED = 8
_NEWER_NAMES = {".attn.rel_pos_h": ".attn.rel_h", ".attn.rel_pos_w": ".attn.rel_w"}
"""Newer commits (0add836 for one) name the tables of positions as SAM does."""
_PARALLEL = "module."


def load_reference(path: Path, architecture: Architecture, classes: int = 1) -> ReferenceMedSa:
    """Build the reference network from a file that the public code wrote; all of it or an error.

    The file is a dict with the weights under ``state_dict`` and the state of the training beside
    it; it is read by torch's ``weights_only`` reader. Names that torch's DataParallel prefixed and
    the names of newer commits are understood. Tables of positions may have any length: the network
    stretches them when it uses them.

    Args:
        path: of the file.
        architecture: shapes of its network.
        classes: masks it was trained to answer with (``multimask_output``).

    Raises:
        CheckpointError: unreadable, unsafe, or not for this network; names the tensors.
    """
    tensors, _ = read_tensors(path)
    named = {_public_name(name): tensor for name, tensor in tensors.items()}
    model = ReferenceMedSa(architecture, classes)
    for name, module in model.named_modules():
        if isinstance(module, ReferenceAttention):
            _fit_tables(module, name, named)
    own = model.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | named.keys()
        if name not in own or name not in named or own[name].shape != named[name].shape
    )
    if wrong:
        listed = ", ".join(wrong[:_LISTED])
        raise CheckpointError(
            got=f"{path.name}, of which {len(wrong)} tensors do not fit: {listed}",
            allowed="a checkpoint of Medical SAM Adapter's network sam with sam_adpt",
            todo="check that file, architecture and number of classes belong together",
        )
    model.load_state_dict(named)
    return model.eval()


def _public_name(name: str) -> str:
    name = name.removeprefix(_PARALLEL)
    for newer, older in _NEWER_NAMES.items():
        if name.endswith(newer):
            return name.removesuffix(newer) + older
    return name


def _fit_tables(attention: ReferenceAttention, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Give the tables of an attention the length they have in the file."""
    for table in ("rel_h", "rel_w"):
        given = tensors.get(f"{name}.{table}")
        if given is not None and given.shape[1:] == getattr(attention, table).shape[1:]:
            setattr(attention, table, nn.Parameter(torch.zeros_like(given)))
