"""Attention without padding is attention with padding."""

from __future__ import annotations

import pytest
import torch

from lib.networks.encoder import AdapterBlock
from lib.networks.fast_attention import NEVER, FastAttention
from tests.support import golden


@pytest.mark.parametrize("trainable", [False, True])
@torch.inference_mode()
def test_padding_matters_and_is_counted(trainable: bool) -> None:
    """Without the padded keys the result would be another one."""
    block = AdapterBlock(32, 2, 14, (16, 16)).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens = torch.randn(1, 16, 16, 32)
    attention = FastAttention(block.attn, 14, 16, trainable)
    assert golden.relative_error(attention(tokens), block._attend(tokens)) <= 1e-5
    attention.if_padded += NEVER  # now no position counts as padding
    assert golden.relative_error(attention(tokens), block._attend(tokens)) > 1e-2


@pytest.mark.parametrize("window", [0, 8, 14])
def test_long_queries_have_the_gradients_of_distance_terms(window: int) -> None:
    torch.manual_seed(window)
    block = AdapterBlock(32, 2, window, (16, 16))
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens = torch.randn(2, 16, 16, 32, requires_grad=True)
    learning = [tokens, *block.attn.parameters()]
    expected = torch.autograd.grad(block._attend(tokens).square().mean(), learning)
    found = FastAttention(block.attn, window, 16, trainable=True)(tokens).square().mean()
    for value, reference in zip(torch.autograd.grad(found, learning), expected, strict=True):
        assert (value - reference).norm() <= 1e-4 * reference.norm()


def test_queries_and_keys_have_lengths_that_fast_kernels_want() -> None:
    block = AdapterBlock(96, 3, 14, (16, 16))
    attention = FastAttention(block.attn, 14, 16, trainable=True)
    depth = 96 // 3
    assert (depth + attention.where.shape[1]) % 8 == 0
    assert attention.where.shape[0] == 16 * 16 + 1
    # A key's row and column; the padding's own place.
    assert attention.where.sum(dim=1).tolist() == [2.0] * 256 + [1.0]
