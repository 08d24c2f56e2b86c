"""The adapter by matrix products is the adapter by convolutions."""

from __future__ import annotations

import pytest
import torch

from lib.networks.adapters import SamMed2dAdapter
from lib.networks.fast_adapter import FastAdapter, TrainableAdapter
from tests.support import golden


@pytest.mark.parametrize("form", [FastAdapter, TrainableAdapter])
@pytest.mark.parametrize("skip_connect", [True, False])
@torch.inference_mode()
def test_the_adapter_equals_its_convolutions(
    form: type[FastAdapter | TrainableAdapter], skip_connect: bool
) -> None:
    torch.manual_seed(0)
    adapter = SamMed2dAdapter(16, skip_connect=skip_connect)
    tokens = torch.randn(3, 8, 6, 16)
    assert golden.relative_error(form(adapter)(tokens), adapter(tokens)) <= 1e-5


def backward(adapter: TrainableAdapter, seed: int = 0) -> None:
    tokens = torch.randn(2, 8, 8, 16, generator=torch.manual_seed(seed))
    with torch.autocast("cpu", torch.bfloat16):
        adapter(tokens).square().mean().backward()


def test_gradients_come_again_in_the_same_memory() -> None:
    published = SamMed2dAdapter(16)
    adapter = TrainableAdapter(published)
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
    adapter = TrainableAdapter(published)
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


def test_a_frozen_convolution_gets_no_gradient() -> None:
    published = SamMed2dAdapter(16)
    published.spatial.requires_grad_(False)
    backward(TrainableAdapter(published))
    assert all(p.grad is None for p in published.spatial.parameters())
    assert all(p.grad is not None for p in published.channel.parameters())
