"""The quick measure of a network for volumes."""

from __future__ import annotations

import numpy as np
import torch

from lib.data.windows3d import Window3d
from lib.networks.sam3d import build_sam3d
from lib.training.validate3d import click_dice3d
from tests.support.small_sam3d import SMALL3D
from tests.training.test_loop3d import balls


def test_one_row_for_each_object_and_nothing_random():
    torch.manual_seed(0)
    model = build_sam3d(SMALL3D)
    batch = balls()
    windows = [
        Window3d(batch.volumes[0, 0].numpy(), batch.targets[:2]),
        Window3d(batch.volumes[1, 0].numpy(), batch.targets[2:]),
    ]
    scores = click_dice3d(model, windows, clicks=3)
    assert scores.shape == (3, 3) and ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_array_equal(scores, click_dice3d(model, windows, clicks=3))
    assert click_dice3d(model, [], clicks=3).shape == (0, 3)


def test_right_masks_score_one():
    class Knows(torch.nn.Module):
        """Answers the object itself, whatever is asked."""

        config = SMALL3D

        def __init__(self, target: np.ndarray) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            coarse = torch.from_numpy(target[::4, ::4, ::4]).float()
            self.answer = 20 * coarse[None, None] - 10

        def encode(self, volume):
            return volume

        def decode(self, embedding, prompts):
            return self.answer, None

    target = np.zeros((32, 32, 32), bool)
    target[8:24, 8:24, 8:24] = True
    window = Window3d(np.zeros((32, 32, 32), np.float32), target[None])
    assert click_dice3d(Knows(target), [window], clicks=2).min() > 0.9
