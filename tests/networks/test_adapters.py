"""The SAM-Med2D adapter against the original's numbers, values and gradients."""

from __future__ import annotations

import pytest
import torch

from lib.networks.adapters import SamMed2dAdapter
from tests.support import golden

GOLDEN = golden.load("samed2d_block.npz")


def make_adapter(skip_connect: bool = True) -> SamMed2dAdapter:
    adapter = SamMed2dAdapter(32, skip_connect=skip_connect)
    weights = golden.below(GOLDEN, "adapter.sd.")
    adapter.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return adapter


def test_output_equals_the_original() -> None:
    y = make_adapter()(torch.tensor(GOLDEN["adapter.x"]))
    assert golden.relative_error(y.detach(), GOLDEN["adapter.y"]) <= 1e-5


def test_output_without_skip_connection_equals_the_original() -> None:
    y = make_adapter(skip_connect=False)(torch.tensor(GOLDEN["adapter.x"]))
    assert golden.relative_error(y.detach(), GOLDEN["adapter_noskip.y"]) <= 1e-5
    assert golden.relative_error(GOLDEN["adapter.y"], GOLDEN["adapter_noskip.y"]) > 0.1


def test_gradients_equal_the_original() -> None:
    adapter = make_adapter()
    x = torch.tensor(GOLDEN["adapter.x"], requires_grad=True)
    (adapter(x) * torch.tensor(GOLDEN["adapter.cotangent"])).sum().backward()
    assert golden.relative_error(x.grad, GOLDEN["adapter.grad_x"]) <= 1e-5
    expected = golden.below(GOLDEN, "adapter.grad.")
    assert set(expected) == {name for name, _ in adapter.named_parameters()}
    for name, parameter in adapter.named_parameters():
        assert golden.relative_error(parameter.grad, expected[name]) <= 1e-5, name


def test_a_fresh_adapter_changes_the_output() -> None:
    tokens = torch.randn(1, 4, 4, 16, generator=torch.Generator().manual_seed(1))
    assert SamMed2dAdapter(16)(tokens).abs().max() > 0.1


def test_an_odd_grid_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size"):
        SamMed2dAdapter(16)(torch.zeros(1, 15, 16, 16))
