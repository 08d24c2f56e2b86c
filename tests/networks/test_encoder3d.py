"""Blocks of the encoder for volumes: the original's numbers, and padding summed up."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.nn import functional

from lib.networks.architectures3d import ARCHITECTURES3D, Positions
from lib.networks.attention3d import Attention3d
from lib.networks.encoder3d import Block3d, ImageEncoder3d
from tests.support import golden

GOLDEN = golden.load("sammed3d_block.npz")


@pytest.mark.parametrize(("case", "window"), [("global", 0), ("window3", 3)])
def test_block_equals_the_original(case: str, window: int) -> None:
    block = Block3d(24, 2, window, 5, "released")
    weights = golden.below(GOLDEN, f"{case}.sd.")
    block.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    x = torch.tensor(GOLDEN[f"{case}.x"], requires_grad=True)
    y = block(x)
    assert golden.relative_error(y.detach(), GOLDEN[f"{case}.y"]) <= 1e-5
    (y * torch.tensor(GOLDEN[f"{case}.cotangent"])).sum().backward()
    assert golden.relative_error(x.grad, GOLDEN[f"{case}.grad_x"]) <= 1e-5


def random_attention(window: int, positions: Positions) -> Attention3d:
    torch.manual_seed(4)
    attention = Attention3d(12, 2, window, positions)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention.double()


@pytest.mark.parametrize("positions", get_args(Positions))
def test_padding_summed_up_equals_padding(positions: Positions) -> None:
    attention = random_attention(7, positions)
    tokens = torch.randn(2, 4, 4, 4, 12, dtype=torch.double, requires_grad=True)
    short = attention(tokens)
    padded = functional.pad(tokens, (0, 0, 0, 3, 0, 3, 0, 3))
    long = attention(padded)[:, :4, :4, :4]
    torch.testing.assert_close(short, long)
    weights = torch.randn_like(short)
    (gradient,) = torch.autograd.grad((short * weights).sum(), tokens, retain_graph=True)
    (expected,) = torch.autograd.grad((long * weights).sum(), tokens)
    torch.testing.assert_close(gradient, expected)


@torch.no_grad()
def test_corrected_positions_know_the_axes() -> None:
    attention = random_attention(3, "corrected")
    tokens = torch.randn(1, 3, 3, 3, 12, dtype=torch.double)
    turned = random_attention(3, "corrected")
    turned.rel_pos_d, turned.rel_pos_h = turned.rel_pos_h, turned.rel_pos_d
    there_and_back = turned(tokens.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(there_and_back, attention(tokens))


def test_windows_where_the_architecture_says() -> None:
    with torch.device("meta"):
        encoder = ImageEncoder3d(ARCHITECTURES3D["sammed3d_b"])
    assert [block.window for block in encoder.blocks] == [14, 14, 8] * 4


@torch.no_grad()
def test_embedding_shape() -> None:
    compact = ARCHITECTURES3D["sammed3d_t"]
    embedding = ImageEncoder3d(compact)(torch.zeros(1, 1, 128, 128, 128))
    assert embedding.shape == (1, compact.embedding_channels, 8, 8, 8)
    assert embedding.nbytes == compact.embedding_bytes
