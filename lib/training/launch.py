"""Carrying out a run with as many processes as it is to have.

One process trains in place. Several are started here, which is MONAI Label's ``multi_gpu``;
those that torchrun started join by themselves, see ``scripts/train.py``.
"""

from __future__ import annotations

import logging
from pathlib import Path

from torch.multiprocessing.spawn import spawn

from lib.training.observers import LogObserver
from lib.training.processes import Place, free_address, join
from lib.training.run import Outcome, TrainJob, train


def launch(job: TrainJob, stats_path: Path, world: int) -> Outcome | None:
    """Carry out a run with one process, or with several on this machine.

    Args:
        job: what is to be done.
        stats_path: where its figures go.
        world: processes; one for each GPU.

    Returns:
        What came of it; None where other processes did it (the figures say it then).
    """
    if world == 1:
        return train(job, LogObserver(stats_path))
    arguments = (world, free_address(), job, stats_path)
    spawn(_one_of_several, args=arguments, nprocs=world)  # type: ignore[no-untyped-call]
    return None


def _one_of_several(rank: int, world: int, address: str, job: TrainJob, stats_path: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with join(Place(rank, world, rank), address):
        train(job, LogObserver(stats_path), rank, world)
