"""Several processes learn what one learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import spawn

from lib.training.annotator import InteractionPlan
from lib.training.examples import FreshExamples
from lib.training.feed import Feed
from lib.training.learner import Learner
from lib.training.parallel import LocalNetwork, SharedNetwork, average_gradients
from lib.training.processes import Place, free_address, join, place_from_environment
from lib.training.recipe import DEFAULT, Part, Recipe, prepare_parameters
from tests.support.small_sam import disc_cases, small_sam

RECIPE = replace(
    DEFAULT,
    interaction=InteractionPlan(corrections=2, mask_only_share=0.3),
    rehearsal=0.0,
    loss_size=64,
)
BATCHES = 3
BATCH_SIZE = 3
"""Odd, so that the two processes have different numbers of rows."""


def learn(recipe: Recipe, part: Part, rank: int, world: int) -> dict[str, list[float]]:
    """Losses of a few batches and the sums of what was learned."""
    torch.set_num_threads(1)
    model = small_sam()
    prepare_parameters(model, part, recipe)
    network = LocalNetwork(model) if world == 1 else SharedNetwork(model)
    learner = Learner(network, recipe)
    source = FreshExamples(disc_cases(4), model, recipe)
    feed = Feed(source, BATCH_SIZE, seed=0, rank=rank, world=world)
    losses: list[float] = []
    for step in range(BATCHES):
        batch = feed.batch(1, step)
        losses += learner.learn(batch, lambda step=step: feed.rng(1, step), 0.3).losses
    sums = [float(p.detach().double().abs().sum()) for p in learner.parameters.values()]
    return {"losses": losses, "weights": sums}


def one_of_two(rank: int, address: str, part: Part, folder: str) -> None:
    with join(Place(rank, 2, rank), address):
        found = learn(RECIPE, part, rank, 2)
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.parametrize("part", ["decoder", "adapters"])
def test_two_processes_have_the_losses_of_one(part: Part, tmp_path: Path) -> None:
    spawn(one_of_two, args=(free_address(), part, str(tmp_path)), nprocs=2)
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in range(2))
    alone = learn(RECIPE, part, 0, 1)
    assert len(alone["losses"]) == BATCHES * 3
    np.testing.assert_allclose(first["losses"], alone["losses"], rtol=2e-3)
    np.testing.assert_allclose(first["losses"], second["losses"], rtol=1e-9)
    np.testing.assert_allclose(first["weights"], second["weights"], rtol=1e-9)
    np.testing.assert_allclose(first["weights"], alone["weights"], rtol=1e-3)


def test_torchrun_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert place_from_environment() == Place(0, 1, 0)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert place_from_environment() == Place(3, 4, 1)


def test_one_process_alone_joins_nobody() -> None:
    with join(Place()):
        assert not torch.distributed.is_initialized()


def _averaged(rank: int, address: str, out: Path) -> None:
    with join(Place(rank, 2, rank), address):
        model = torch.nn.Linear(2, 1)
        # The bias has a gradient in one process only.
        model.weight.grad = torch.full((1, 2), 1.0 + rank)
        model.bias.grad = torch.tensor([4.0]) if rank else None
        average_gradients(model)
        assert model.bias.grad is not None
        found = [*model.weight.grad[0].tolist(), float(model.bias.grad)]
        (out / f"{rank}.json").write_text(json.dumps(found))


def test_gradients_are_averaged_over_processes(tmp_path: Path) -> None:
    spawn(_averaged, args=(free_address(), tmp_path), nprocs=2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [1.5, 1.5, 2.0]


def test_a_process_alone_keeps_its_gradients() -> None:
    model = torch.nn.Linear(2, 1)
    average_gradients(model)
    assert model.weight.grad is None
