"""Clicks in volumes of any grid."""

from __future__ import annotations

import numpy as np
import pytest

from lib.imaging.grid import Volume
from lib.inference.cube_segmenter import CubeSegmenter
from lib.inference.worker import PriorityWorker
from lib.networks.sam3d import Sam3d
from lib.prompts.voxel_prompt import VoxelPrompt
from tests.support.tiny3d import ball, small_model, small_network

SHAPE = (40, 36, 20)
SPACING = (1.5, 1.5, 3.0)
CENTRE = (20, 16, 10)


def volume(flip: int = 1) -> Volume:
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32) + 1
    image[ball(SHAPE, CENTRE, 5)] += 3
    return Volume(image[::flip], np.diag([flip * SPACING[0], *SPACING[1:], 1.0]))


def segmenter(model: Sam3d | None = None) -> CubeSegmenter:
    return CubeSegmenter(small_network(model), PriorityWorker(), "small3d-1")


def test_the_mask_lies_on_the_grid_of_the_file() -> None:
    result = segmenter().segment(volume(), VoxelPrompt((CENTRE,), (1,)))
    assert result.mask.shape == SHAPE and result.mask.dtype == np.bool_
    assert result.encoder == "torch fp32" and not result.cached and result.cubes >= 1
    assert min(vars(result.timings).values()) >= 0


def test_the_same_body_in_another_orientation_has_the_same_mask() -> None:
    either = segmenter()
    mask = either.segment(volume(), VoxelPrompt((CENTRE,), (1,))).mask
    mirrored = VoxelPrompt(((SHAPE[0] - 1 - CENTRE[0], *CENTRE[1:]),), (1,))
    other = either.segment(volume(-1), mirrored)
    assert other.cached
    assert np.array_equal(other.mask[::-1], mask) and mask.any()


def test_what_the_network_says_of_a_place_is_said_of_that_place(monkeypatch) -> None:
    """A network that finds a ball of cells around its first click."""
    model = small_model()

    def decode(embedding, prompts):
        import torch

        places = torch.stack(torch.meshgrid(*3 * [torch.arange(8.0)], indexing="ij"), dim=-1)
        away = (places - (prompts.points[0, 0] + 0.5) / 4 + 0.5).square().sum(dim=-1)
        return (4.0 - away)[None, None], torch.tensor([[0.9]])

    monkeypatch.setattr(model, "decode", decode)
    result = segmenter(model).segment(volume(), VoxelPrompt((CENTRE,), (1,)))
    i, j, k = (c - n for c, n in zip(np.indices(SHAPE), CENTRE, strict=True))
    away = np.sqrt((1.5 * i) ** 2 + (1.5 * j) ** 2 + (3 * k) ** 2)
    # Two cells of 6 mm are 12 mm.
    assert not result.mask[away > 14].any() and result.mask[away < 10].all()
    assert result.iou == pytest.approx(0.9)


def test_a_box_is_clicks_and_a_limit() -> None:
    prompt = VoxelPrompt(box=(14, 26, 10, 22, 7, 13))
    mask = segmenter().segment(volume(), prompt).mask
    kept = np.zeros(SHAPE, bool)
    kept[14:27, 10:23, 7:14] = True
    assert not mask[~kept].any()


def test_colours_count_by_their_mean() -> None:
    grey = volume()
    colour = Volume(np.stack([grey.array - 1, grey.array, grey.array + 1], axis=3), grey.affine)
    either, prompt = segmenter(), VoxelPrompt((CENTRE,), (1,))
    mask = either.segment(grey, prompt).mask
    assert (either.segment(colour, prompt).mask == mask).mean() > 0.99
