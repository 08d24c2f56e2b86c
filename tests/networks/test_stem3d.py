"""The convolutional stem for volumes."""

from __future__ import annotations

import torch

from lib.networks.stem3d import ConvStem3d, pack3d, unpack3d


@torch.no_grad()
def test_tokens_and_details_have_their_shapes() -> None:
    stem = ConvStem3d((12, 12, 24), dim=20, detail_channels=4)
    tokens, details = stem(torch.zeros(2, 1, 32, 32, 32))
    assert tokens.shape == (2, 2, 2, 2, 20)
    assert details.shape == (2, 256, 2, 2, 2)
    assert unpack3d(details).shape == (2, 4, 8, 8, 8)


def test_packing_loses_nothing() -> None:
    details = torch.randn(2, 3, 4, 8, 12)
    assert pack3d(details).shape == (2, 192, 1, 2, 3)
    assert torch.equal(unpack3d(pack3d(details)), details)
    # What lies beside one cell of the embedding belongs to its place.
    alone = torch.zeros(1, 1, 4, 8, 12)
    alone[0, 0, :, 4:, 8:] = 1.0
    cells = pack3d(alone)
    assert torch.equal(cells[:, :, 0, 1, 2], torch.ones(1, 64))
    assert cells.sum() == 64


@torch.no_grad()
def test_the_first_detail_is_the_volume_and_far_values_are_brought_near() -> None:
    stem = ConvStem3d((12, 12, 24), dim=20, detail_channels=4)
    volume = torch.full((1, 1, 32, 32, 32), 0.5)
    volume[..., 16:] = -9.0
    plain = unpack3d(stem(volume)[1])[0, 0]
    assert abs(float(plain[..., 0].mean()) - 0.5) < 0.01
    assert (plain[..., -1] > -3.0).all() and (plain[..., -1] < -2.9).all()
