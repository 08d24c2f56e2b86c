"""SAM-Med2D's own training of one batch, step by step, against the original's numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from lib.networks import AdapterSam, PromptTensors
from lib.training.annotator import PublishedAnnotator
from lib.training.loop import Batch, BatchResult, interact
from lib.training.objective import PublishedObjective
from lib.training.parallel import LocalNetwork
from lib.training.recipe import PAPER, prepare_parameters
from tests.support.golden import below, load, relative_error, tiny_model

LOSS_TOLERANCE = 2e-3
FIRST_TOLERANCE = 1e-5
CASES = ("box_first", "point_first")


class Recorded:
    """Passes prompts on and keeps them and the logits they were drawn from."""

    def __init__(self, annotator: PublishedAnnotator) -> None:
        self.annotator, self.steps = annotator, annotator.steps
        self.prompts: list[PromptTensors] = []
        self.logits: list[torch.Tensor] = []

    def first(self) -> PromptTensors:
        self.prompts.append(self.annotator.first())
        return self.prompts[-1]

    def correct(self, predicted: np.ndarray, low_res: torch.Tensor) -> PromptTensors:
        self.logits.append(low_res)
        self.prompts.append(self.annotator.correct(predicted, low_res))
        return self.prompts[-1]

    def asks_for_candidates(self) -> bool:
        return self.annotator.asks_for_candidates()


def replay(case: str) -> tuple[AdapterSam, BatchResult, Recorded, dict[str, np.ndarray]]:
    """One batch of the original's training, from its seeds."""
    golden = below(load("samed2d_train_io.npz"), f"{case}.")
    model = tiny_model().train()
    optimiser = PAPER.optimiser(prepare_parameters(model, "adapters", PAPER))

    def update() -> None:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    batch = Batch(
        images=torch.from_numpy(golden["batch.image"][:, 0]),
        targets=golden["batch.label"].reshape(-1, 256, 256) > 0,
        image_of=torch.tensor([0, 0, 1, 1]),
        normalised=True,
    )
    annotator = Recorded(
        PublishedAnnotator(
            batch.targets,
            random.Random(int(golden["python_seed"])),
            np.random.RandomState(int(golden["numpy_seed"])),
            golden["batch.boxes"].reshape(-1, 4),
            golden["batch.point_coords"].reshape(-1, 1, 2),
        )
    )
    result = interact(
        LocalNetwork(model), batch, annotator, PublishedObjective(), update, after="step"
    )
    return model, result, annotator, golden


@pytest.mark.parametrize("case", CASES)
def test_the_losses_of_all_nine_steps(case: str) -> None:
    _, result, annotator, golden = replay(case)
    assert len(result.losses) == 9
    assert result.losses[0] == pytest.approx(golden["losses"][0], rel=FIRST_TOLERANCE)
    np.testing.assert_allclose(result.losses, golden["losses"], rtol=LOSS_TOLERANCE)
    assert relative_error(annotator.logits[0], golden["step0.low_res"]) < FIRST_TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_prompts_of_all_nine_steps(case: str) -> None:
    """The same seeds draw the same boxes and points, in the order of the original."""
    _, _, annotator, golden = replay(case)
    for step, prompts in enumerate(annotator.prompts):
        prefix = f"step{step}."
        if f"{prefix}boxes" in golden:
            assert prompts.boxes is not None and prompts.points is None
            np.testing.assert_array_equal(prompts.boxes, golden[f"{prefix}boxes"][:, 0])
        elif f"{prefix}point_coords" in golden:
            assert prompts.points is not None and prompts.labels is not None
            np.testing.assert_array_equal(prompts.points, golden[f"{prefix}point_coords"])
            np.testing.assert_array_equal(prompts.labels, golden[f"{prefix}point_labels"])
        else:
            assert prompts.points is None and prompts.boxes is None
        assert (prompts.masks is None) == (step == 0)


@pytest.mark.parametrize("case", CASES)
def test_what_was_learned(case: str) -> None:
    """Ten parameters before and after; those the original leaves alone stay as they were."""
    model, _, _, golden = replay(case)
    before = tiny_model().state_dict()
    after = model.state_dict()
    for name, delta in below(golden, "delta.").items():
        change = (after[name] - before[name]).numpy()
        # Adam's first steps have the size of the learning rate, whatever the gradient.
        assert np.abs(change - delta).mean() < 0.02 * max(np.abs(delta).mean(), 1e-4), name
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert not any("point_embeddings.0" in name or "point_embeddings.1" in name for name in moved)
    assert not any("mask_downscaling" in name or "not_a_point" in name for name in moved)
    assert not any("attn" in name for name in moved if name.startswith("image_encoder"))
    assert any("Adapter" in name for name in moved)
