"""ViT blocks with adapter, and the whole encoder, against the original's numbers."""

from __future__ import annotations

import pytest
import torch

from lib.networks import ARCHITECTURES
from lib.networks.encoder import AdapterBlock, build_image_encoder
from tests.support import golden

GOLDEN = golden.load("samed2d_block.npz")


def make_block(case: str, window: int) -> AdapterBlock:
    block = AdapterBlock(32, 2, window, (16, 16))
    weights = golden.below(GOLDEN, f"{case}.sd.")
    block.load_state_dict(
        {name: torch.tensor(value) for name, value in weights.items()},
        strict="noadapter" not in case,
    )
    block.use_adapter = "noadapter" not in case
    return block


@pytest.mark.parametrize(
    ("case", "window"), [("block_w0", 0), ("block_w14", 14), ("block_w14_noadapter", 14)]
)
def test_block_equals_the_original(case: str, window: int) -> None:
    block = make_block(case, window)
    x = torch.tensor(GOLDEN[f"{case}.x"], requires_grad=True)
    y = block(x)
    assert golden.relative_error(y.detach(), GOLDEN[f"{case}.y"]) <= 1e-5
    (y * torch.tensor(GOLDEN[f"{case}.cotangent"])).sum().backward()
    assert golden.relative_error(x.grad, GOLDEN[f"{case}.grad_x"]) <= 1e-5
    expected = golden.below(GOLDEN, f"{case}.grad.")
    assert expected
    parameters = dict(block.named_parameters())
    for name, gradient in expected.items():
        assert golden.relative_error(parameters[name].grad, gradient) <= 1e-5, name


def test_the_adapter_makes_a_difference() -> None:
    block = make_block("block_w14", 14)
    x = torch.tensor(GOLDEN["block_w14.x"])
    with_adapter = block(x)
    block.use_adapter = False
    assert (with_adapter - block(x)).abs().max() > 0.1


def test_windows_where_the_architecture_says() -> None:
    with torch.device("meta"):
        encoder = build_image_encoder(ARCHITECTURES["samed2d_b"])
    windows = [block.window_size for block in encoder.blocks]
    assert windows == [14, 14, 0] * 4


def test_embedding_shape() -> None:
    encoder = build_image_encoder(ARCHITECTURES["samed2d_t"]).eval()
    with torch.inference_mode():
        shape = (2, ARCHITECTURES["samed2d_t"].embedding_channels, 16, 16)
        assert encoder(torch.zeros(2, 3, 256, 256)).shape == shape
