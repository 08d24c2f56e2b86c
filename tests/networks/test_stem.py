"""The convolutional stem."""

from __future__ import annotations

import torch

from lib.networks.stem import ConvStem, pack, unpack


def stem() -> ConvStem:
    torch.manual_seed(0)
    return ConvStem((12, 12, 24), dim=20, detail_channels=4).eval()


def test_tokens_and_details_have_their_shapes() -> None:
    tokens, details = stem()(torch.zeros(2, 3, 64, 64))
    assert tokens.shape == (2, 4, 4, 20)
    assert details.shape == (2, 64, 4, 4)
    assert unpack(details).shape == (2, 4, 16, 16)


def test_packing_loses_nothing() -> None:
    details = torch.randn(2, 3, 8, 12)
    assert pack(details).shape == (2, 48, 2, 3)
    assert torch.equal(unpack(pack(details)), details)


@torch.no_grad()
def test_details_lie_where_the_image_has_them() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., 40, 24] = 5.0
    network = stem()
    # Norms look at the whole image; what changes most is where the pixel is.
    before, after = (unpack(network(i)[1]) for i in (torch.zeros_like(image), image))
    changed = (after - before).abs().sum(dim=1)[0]
    row, column = divmod(int(changed.argmax()), 16)
    assert abs(row - 10) <= 1 and abs(column - 6) <= 1
