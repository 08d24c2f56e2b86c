"""Prompts drawn as maps."""

from __future__ import annotations

import pytest
import torch

from lib.networks.prompt_maps import CHANNELS, MapPromptEncoder


def encoder() -> MapPromptEncoder:
    torch.manual_seed(0)
    return MapPromptEncoder(32, (16, 16), (256, 256), 4)


def test_clicks_are_spots_of_their_kind_at_their_place() -> None:
    # (x, y): pixels 4 x + 1.5 are the middle of map pixel x.
    points = torch.tensor([[[41.5, 81.5], [201.5, 5.5]]])
    maps = encoder().draw(points, torch.tensor([[1, 0]]), None, None)
    assert maps.shape == (1, CHANNELS, 64, 64)
    for channel, (x, y) in enumerate([(10, 20), (10, 20), (50, 1), (50, 1)]):
        assert maps[0, channel].argmax() == 64 * y + x
        assert maps[0, channel].max() == pytest.approx(1.0)
    assert maps[0, 0].sum() < maps[0, 1].sum(), "a small spot and a wide one"
    assert not maps[0, 4:].any()


def test_padding_draws_nothing() -> None:
    points = torch.full((2, 1, 2), 100.0)
    maps = encoder().draw(points, torch.tensor([[-1], [1]]), None, None)
    assert not maps[0].any()
    assert maps[1].any()


def test_the_inside_of_a_box_is_filled_edges_by_their_share() -> None:
    boxes = torch.tensor([[40.0, 80.0, 49.0, 99.0], [0.0, 0.0, 255.0, 255.0]])
    maps = encoder().draw(None, None, boxes, None)
    # 10 columns and 20 rows of pixels are 2.5 x 5 pixels of the map.
    assert maps[0, -3].sum() == pytest.approx(12.5)
    assert maps[0, -3, 20:25, 10:12].eq(1).all()
    assert maps[0, -3, 22, 12] == pytest.approx(0.5)
    assert maps[1, -3].eq(1).all()


def test_a_mask_says_that_it_is_there() -> None:
    masks = torch.rand(1, 1, 64, 64)
    boxes = torch.tensor([[1.0, 1.0, 9.0, 9.0]])
    maps = encoder().draw(None, None, boxes, masks)
    torch.testing.assert_close(maps[:, -2], 2 * masks[:, 0] - 1)
    assert maps[:, -1].eq(1).all()
    assert not encoder().draw(None, None, boxes, None)[:, -2:].any()


def test_each_row_draws_its_own() -> None:
    points, labels = torch.rand(3, 2, 2) * 255, torch.tensor([[1, 0], [1, 1], [0, 0]])
    together = encoder().draw(points, labels, None, None)
    for row in range(3):
        alone = encoder().draw(points[row : row + 1], labels[row : row + 1], None, None)
        assert torch.equal(together[row], alone[0])
