"""The adapter by matrix products is the adapter by convolutions."""

from __future__ import annotations

import pytest
import torch

from lib.networks.adapters import SamMed2dAdapter
from lib.networks.fast_adapter import FastAdapter, Scratch, TrainableAdapter
from tests.support import golden


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("skip_connect", [True, False])
@torch.inference_mode()
def test_the_adapter_equals_its_convolutions(trainable: bool, skip_connect: bool) -> None:
    torch.manual_seed(0)
    adapter = SamMed2dAdapter(16, skip_connect=skip_connect)
    grid = torch.randn(3, 8, 6, 16)
    fast = TrainableAdapter(adapter, Scratch()) if trainable else FastAdapter(adapter)
    assert golden.relative_error(fast(grid), adapter(grid)) <= 1e-5


def tokens(seed: int) -> torch.Tensor:
    return torch.randn(2, 8, 8, 16, generator=torch.manual_seed(seed))


def backward(adapter: TrainableAdapter, seed: int = 0) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        adapter(tokens(seed)).square().mean().backward()


def test_gradients_come_again_in_the_same_memory() -> None:
    published = SamMed2dAdapter(16)
    adapter = TrainableAdapter(published, Scratch())
    convolutions = [p for p in published.parameters() if p.ndim == 4]
    backward(adapter)
    first = [p.grad.clone() for p in convolutions]
    places = [p.grad.data_ptr() for p in convolutions]
    published.zero_grad()
    backward(adapter)
    assert [p.grad.data_ptr() for p in convolutions] == places
    assert all(torch.equal(p.grad, f) for p, f in zip(convolutions, first, strict=True))


def test_gradients_of_several_passes_add_up() -> None:
    published = SamMed2dAdapter(16)
    adapter = TrainableAdapter(published, Scratch())
    alone = []
    for seed in (1, 2):
        published.zero_grad()
        backward(adapter, seed)
        alone.append([p.grad.clone() for p in published.parameters()])
    published.zero_grad()
    backward(adapter, 1)
    backward(adapter, 2)
    for parameter, one, two in zip(published.parameters(), *alone, strict=True):
        assert torch.allclose(parameter.grad, one + two, rtol=1e-5, atol=1e-8)


def test_one_way_back_for_several_passes() -> None:
    published = SamMed2dAdapter(16)
    adapter = TrainableAdapter(published, Scratch())
    alone = []
    for seed in (1, 2):
        published.zero_grad()
        backward(adapter, seed)
        alone.append([p.grad.clone() for p in published.parameters()])
    published.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        adapter(torch.randn(1, 8, 8, 16))  # nobody asks for its gradient
        losses = [adapter(tokens(seed)).square().mean() for seed in (1, 2)]
    sum(losses).backward()
    for parameter, one, two in zip(published.parameters(), *alone, strict=True):
        assert torch.allclose(parameter.grad, one + two, rtol=1e-5, atol=1e-8)
    convolutions = [p for p in published.parameters() if p.ndim == 4]
    published.zero_grad()
    backward(adapter)
    places = [p.grad.data_ptr() for p in convolutions]
    published.zero_grad()
    backward(adapter)
    assert [p.grad.data_ptr() for p in convolutions] == places


def test_scratch_grows_and_follows_its_user() -> None:
    scratch = Scratch()
    first = scratch.take((4, 5), torch.zeros(1))
    assert scratch.take((2, 3), torch.zeros(1)).data_ptr() == first.data_ptr()
    assert scratch.take((6, 5), torch.zeros(1)).shape == (6, 5)
    assert scratch.take((6, 5), torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_frozen_convolution_gets_no_gradient() -> None:
    published = SamMed2dAdapter(16)
    published.spatial.requires_grad_(False)
    backward(TrainableAdapter(published, Scratch()))
    assert all(p.grad is None for p in published.spatial.parameters())
    assert all(p.grad is not None for p in published.channel.parameters())
