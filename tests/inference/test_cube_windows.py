"""Objects out of several cubes, with a network that knows the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lib.imaging.cube import cube_grid
from lib.inference.cube_network import CubeAnswer, EmbeddedCube
from lib.inference.cube_windows import MAX_CUBES, NOWHERE, Clicks, Patchwork, look

SHAPE = (128, 40, 40)


@dataclass
class Knowing:
    """Answers with the truth of the cells of a cube, as far as a click says that it is there."""

    truth: np.ndarray
    size: int = 32
    cells: int = 8

    def __post_init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def embed(self, start: np.ndarray) -> EmbeddedCube:
        self.start = start
        return EmbeddedCube(torch.zeros(1), str(start), "knowing", cached=False)

    def answer(self, image, points, labels, start=None) -> CubeAnswer:
        self.asked.append((tuple(self.start), labels))
        assert labels[0] == 1 and (points >= 0).all() and (points < self.size).all()
        padded = np.pad(self.truth, 64)
        part = tuple(slice(n + 64, n + 64 + self.size) for n in self.start)
        cells = padded[part].reshape(8, 4, 8, 4, 8, 4).mean(axis=(1, 3, 5))
        return CubeAnswer((20 * cells - 10).astype(np.float32), 0.5)


def found(network: Knowing, *clicks: tuple[float, ...], labels=None) -> np.ndarray:
    """What is found, on the voxels of the grid."""
    grid = cube_grid(SHAPE, np.eye(4), 1.0)
    given = Clicks(np.asarray(clicks, float), labels or (1,) * len(clicks))
    patchwork = look(network, grid, given, network.embed)
    logits, low = patchwork.blended()
    start = (patchwork.origin + 4 * np.asarray(low)).tolist()
    values, part = grid.cells(start, 4, logits.shape).back(logits, SHAPE, "nearest")
    mask = np.zeros(SHAPE, bool)
    mask[part] = values > 0
    return mask


def bar(first: int, last: int) -> np.ndarray:
    truth = np.zeros(SHAPE)
    truth[first:last, 12:28, 12:28] = 1
    return truth


def test_an_object_within_the_cube_takes_one() -> None:
    network = Knowing(bar(52, 68))
    mask = found(network, (60, 20, 20))
    assert np.array_equal(mask, bar(52, 68) > 0)
    assert network.asked == [((44, 4, 4), (1,))]


def test_cubes_follow_an_object_beyond_the_first() -> None:
    network = Knowing(bar(12, 124))
    mask = found(network, (60, 20, 20))
    assert np.array_equal(mask, bar(12, 124) > 0)
    assert {start[1:] for start, _ in network.asked} == {(4, 4)}
    # One click in each: the person's own, else one where the object is known to be.
    assert all(labels == (1,) for _, labels in network.asked)


def test_a_click_elsewhere_has_its_own_cube() -> None:
    network = Knowing(bar(12, 28) + bar(100, 116))
    assert np.array_equal(found(network, (20, 20, 20)), bar(12, 28) > 0)
    both = found(network, (20, 20, 20), (108, 20, 20))
    assert np.array_equal(both, network.truth > 0)


def test_background_alone_moves_no_cube() -> None:
    network = Knowing(bar(12, 28))
    found(network, (20, 20, 20), (108, 20, 20), (24, 20, 20), labels=(1, 0, 0))
    assert network.asked == [((4, 4, 4), (1, 0))]


def test_there_is_an_end() -> None:
    network = Knowing(np.ones((128, 40, 40)))
    look(
        network,
        cube_grid((2000, 2000, 2000), np.eye(4), 1.0),
        Clicks(np.array([[60.0, 20, 20]]), (1,)),
        network.embed,
    )
    assert len(network.asked) <= MAX_CUBES


def test_blending_counts_the_middle_of_cubes_most() -> None:
    ones = np.ones((8, 8, 8), np.float32)
    patchwork = Patchwork(np.zeros(3, int), 16)
    patchwork.answers[0, 0, 0] = CubeAnswer(ones, 0.5)
    patchwork.answers[1, 0, 0] = CubeAnswer(-ones, 0.5)
    patchwork.answers[1, 1, 0] = CubeAnswer(-ones, 0.5)
    logits, low = patchwork.blended()
    assert low == (0, 0, 0) and logits.shape == (12, 12, 8)
    assert logits[:4, 0, 0].tolist() == [1, 1, 1, 1]
    assert (np.diff(logits[3:9, 2, 3]) < 0).all()
    assert logits[0, 11, 0] == NOWHERE
    assert patchwork.known((2, 0, 0), 8)[:, 0, 0] == pytest.approx([-1] * 4 + [0] * 4)
