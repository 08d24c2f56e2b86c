"""How like the clicked places each voxel is."""

from __future__ import annotations

import torch

from lib.networks.likeness3d import LIKENESS_CHANNELS, likeness


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Two halves of different values, and a foreground click in the first one."""
    details = torch.zeros(1, 3, 8, 8, 8)
    details[:, :, 4:] = 2.0
    spots = torch.zeros(1, 2, 8, 8, 8)
    spots[0, 0, 1, 3, 3] = 1.0
    return details, spots


def test_what_is_like_the_click_is_alike_and_the_other_is_not() -> None:
    details, spots = scene()
    alike = likeness(details, spots)
    assert alike.shape == (1, LIKENESS_CHANNELS, 8, 8, 8)
    assert (alike[0, :3, :4] == 1).all()
    assert (alike[0, :3, 4:] < 0.05).all()
    assert alike[0, 0, 4:].max() <= alike[0, 1, 4:].max()


def test_without_a_click_of_a_kind_nothing_is_alike() -> None:
    details, spots = scene()
    assert (likeness(details, spots)[:, 3:] == 0).all()
    assert (likeness(details, torch.zeros_like(spots)) == 0).all()


def test_rows_share_details_and_have_clicks_of_their_own() -> None:
    details, spots = scene()
    other = spots.flip(1, 2)
    alike = likeness(details, torch.cat([spots, other]))
    torch.testing.assert_close(alike[:1], likeness(details, spots))
    assert (alike[1, 3:, 4:] == 1).all() and (alike[1, 3:, :4] < 0.05).all()
    torch.testing.assert_close(
        likeness(details.expand(2, -1, -1, -1, -1), torch.cat([spots, other])), alike
    )


def test_the_middle_of_a_spot_says_what_is_meant() -> None:
    details, spots = scene()
    spots[0, 0, 4, 3, 3] = 0.5  # the surroundings of the click, in the other half
    assert likeness(details, spots)[0, 1, 0].min() > 0.9
