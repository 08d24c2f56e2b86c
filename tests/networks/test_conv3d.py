"""The convolution that is computed twice."""

from __future__ import annotations

import pytest
import torch

from lib.networks.conv3d import Conv3d


@pytest.mark.parametrize("batch", [1, 2])
def test_values_and_gradients_are_those_of_torch(batch: int) -> None:
    torch.manual_seed(0)
    convolution = Conv3d(3, 4, 3, stride=2, padding=1)
    plain = torch.nn.Conv3d(3, 4, 3, stride=2, padding=1)
    plain.load_state_dict(convolution.state_dict())
    x = torch.randn(batch, 3, 8, 8, 8)
    outputs = [network(x) for network in (convolution, plain)]
    torch.testing.assert_close(*outputs)
    gradients = [
        torch.autograd.grad(y.square().sum(), network.weight)[0]
        for y, network in zip(outputs, (convolution, plain), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
