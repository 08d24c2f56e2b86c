"""Weights change as the recipe says, and memory is not the end."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import TrainingError
from lib.networks import PromptTensors
from lib.training.annotator import InteractionPlan
from lib.training.learner import Learner, divided, is_out_of_memory
from lib.training.loop import Batch
from lib.training.parallel import LocalNetwork
from lib.training.recipe import DEFAULT, PAPER, Recipe, prepare_parameters
from tests.support.small_sam import disc_batch, small_sam

FAST = replace(DEFAULT, interaction=InteractionPlan(corrections=1), loss_size=64, ema=0.98)


def make(recipe: Recipe = FAST, part: str = "decoder", rate: float | None = None) -> Learner:
    model = small_sam()
    prepare_parameters(model, part, recipe)  # type: ignore[arg-type]
    return Learner(LocalNetwork(model), recipe, rate)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def learn(learner: Learner, progress: float = 0.5) -> tuple[float, ...]:
    return learner.learn(disc_batch(), rng, progress).losses


def test_only_what_is_to_learn_changes() -> None:
    for part in ("decoder", "adapters"):
        learner = make(part=part)
        before = {n: t.clone() for n, t in learner.network.model.state_dict().items()}
        learn(learner)
        after = learner.network.model.state_dict()
        moved = {n for n in before if not torch.equal(before[n], after[n])}
        assert moved and moved <= set(learner.parameters)
        assert any(n.startswith("image_encoder") for n in moved) == (part == "adapters")


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    learner = make()
    rates = [learner.rate(p) for p in np.linspace(0, 1, 101)]
    assert rates[0] < rates[3] < max(rates) == pytest.approx(FAST.learning_rate, rel=0.01)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)
    assert make(PAPER).rate(0.0) == make(PAPER).rate(1.0) == PAPER.learning_rate
    assert make(rate=0.25).rate(FAST.warmup) == pytest.approx(0.25)


def test_one_update_a_batch_or_one_a_step() -> None:
    ours, theirs = make(), make(PAPER)
    learn(ours)
    learn(theirs)
    assert ours.updates == 1 and theirs.updates == 9


def test_the_result_is_the_moving_average_where_there_is_one() -> None:
    learner = make()
    start = learner.result()
    learn(learner)
    name = "mask_decoder.iou_token.weight"
    moved = (learner.parameters[name] - start[name]).abs().mean()
    averaged = (learner.result()[name] - start[name]).abs().mean()
    assert 0 < averaged < moved
    plain = make(replace(FAST, ema=None))
    learn(plain)
    assert torch.equal(plain.result()[name], plain.parameters[name])


def test_a_long_gradient_is_clipped() -> None:
    learner = make(replace(FAST, clip=1e-12, weight_decay=0.0, ema=None))
    norms = []
    step = learner.optimiser.step

    def watched() -> None:
        grads = [p.grad for p in learner.parameters.values() if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in grads]).norm()))
        step()

    learner.optimiser.step = watched  # type: ignore[method-assign]
    learn(learner)
    assert norms[0] <= 1.01e-12


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_no_gradient() -> None:
    learner = make()
    with torch.no_grad():
        learner.parameters["mask_decoder.iou_token.weight"].fill_(math.nan)
    with pytest.raises(TrainingError, match="no number after 0 updates"):
        learn(learner)
    assert all(p.grad is None for p in learner.parameters.values())


def test_a_state_takes_a_learner_up_where_another_stopped() -> None:
    straight, first, second = make(), make(), make()
    expected = [learn(straight) for _ in range(4)]
    losses = [learn(first), learn(first)]
    second.restore(first.state())
    losses += [learn(second), learn(second)]
    assert losses == expected
    assert all(torch.equal(second.result()[n], t) for n, t in straight.result().items())


def test_a_state_of_another_part_is_refused() -> None:
    with pytest.raises(TrainingError, match="other learning parameters"):
        make(part="adapters").restore(make(part="decoder").state())


class Cramped(LocalNetwork):
    """A network that cannot take more than so many rows at a time."""

    def __init__(self, rows: int, error: Exception) -> None:
        super().__init__(small_sam())
        self.rows, self.error = rows, error
        self.largest = 0

    def decode(
        self, embeddings: torch.Tensor, prompts: PromptTensors, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if len(embeddings) > self.rows:
            raise self.error
        self.largest = max(self.largest, len(embeddings))
        return super().decode(embeddings, prompts, multimask)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: type(e).__name__)
def test_out_of_memory_halves_the_batch_and_goes_on(error: Exception) -> None:
    network = Cramped(2, error)
    prepare_parameters(network.model, "decoder", FAST)
    learner = Learner(network, FAST)
    losses = learn(learner)
    assert learner.parts == 2 and network.largest == 2 and learner.updates == 1
    assert all(math.isfinite(loss) for loss in losses)
    assert learner.state().parts == 2


def test_the_halves_of_a_batch_teach_what_the_whole_does() -> None:
    def gradient(rows: int) -> torch.Tensor:
        network = Cramped(rows, MemoryError())
        recipe = replace(FAST, clip=None, ema=None)
        prepare_parameters(network.model, "decoder", recipe)
        learner = Learner(network, recipe)
        kept = []
        learner.optimiser.step = lambda: kept.append(  # type: ignore[method-assign]
            learner.parameters["mask_decoder.iou_token.weight"].grad.clone()
        )
        learn(learner)
        return kept[0]

    whole, halves = gradient(3), gradient(2)
    assert torch.allclose(whole, halves, rtol=1e-3, atol=1e-7)


def test_one_object_that_does_not_fit_is_a_clear_error() -> None:
    network = Cramped(0, MemoryError())
    prepare_parameters(network.model, "decoder", FAST)
    with pytest.raises(TrainingError, match="does not fit into memory"):
        learn(Learner(network, FAST))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    network = Cramped(1, RuntimeError("shapes differ"))
    prepare_parameters(network.model, "decoder", FAST)
    with pytest.raises(RuntimeError, match="shapes differ"):
        learn(Learner(network, FAST))


def test_a_divided_batch_has_all_rows_with_their_images_and_weights() -> None:
    batch = replace(disc_batch(), rows=(5, 6, 7))
    parts: list[Batch] = list(divided(batch, 2))
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    assert [part.rows for part in parts] == [(5, 6), (7,)]
    for part in parts:
        for row, image in enumerate(part.image_of.tolist()):
            number = batch.rows.index(part.rows[row])
            assert torch.equal(part.images[image], batch.images[batch.image_of[number]])
            assert np.array_equal(part.targets[row], batch.targets[number])
