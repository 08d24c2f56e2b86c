"""One process among others: which one this is, and speaking to the rest."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed

NCCL, GLOO = "nccl", "gloo"


@dataclass(frozen=True)
class Place:
    """One process among others.

    Attributes:
        rank: its number, 0 leads.
        world: processes in all.
        local_rank: its number on this machine, which is that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0


def place_from_environment() -> Place:
    """What torchrun says of this process; alone where it says nothing."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in os.environ for name in names):
        return Place()
    return Place(*(int(os.environ[name]) for name in names))


def free_address() -> str:
    """An address on this machine at which nobody listens, for `join`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def join(place: Place, address: str | None = None) -> Iterator[None]:
    """Be one of several processes for a while; does nothing for one that is alone.

    Args:
        place: of this process.
        address: "tcp://host:port" of the leading process; None takes torchrun's environment.
    """
    if place.world == 1:
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(place.local_rank)
    torch.distributed.init_process_group(
        NCCL if cuda else GLOO,
        init_method=address or "env://",
        rank=place.rank,
        world_size=place.world,
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
