"""Muon: what it does to a matrix, which parameters it has, and that it goes on after saving."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib.networks import build_sam
from lib.training.muon import Muon, is_matrix, matrices_of, orthogonal
from tests.networks.detailed import DETAILED


@pytest.mark.parametrize("shape", [(24, 24), (16, 90), (90, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = (
        torch.randn(3, *shape, generator=generator) * torch.tensor([1e-4, 1.0, 1e3])[:, None, None]
    )
    found = orthogonal(matrices)
    assert found.shape == matrices.shape and found.dtype == torch.float32
    for matrix, result in zip(matrices, found, strict=True):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        inside = left.mT @ result @ right.mT
        # Very small singular values need more rounds than there are.
        kept = values > 0.05 * values[0]
        assert inside.diagonal()[kept].min() > 0.6 and inside.diagonal().max() < 1.3
        assert (inside - inside.diagonal().diag()).abs().max() < 0.1


def test_layers_with_many_ins_and_outs_are_matrices() -> None:
    linear, kernel, head = nn.Linear(16, 20), nn.Conv2d(16, 32, 3), nn.Linear(64, 4)
    assert is_matrix(linear, linear.weight) and is_matrix(kernel, kernel.weight)
    assert not is_matrix(linear, linear.bias)
    assert not is_matrix(head, head.weight)
    tokens = nn.Embedding(32, 32)
    assert not is_matrix(tokens, tokens.weight)


def test_most_of_the_network_is_matrices_but_no_tokens_and_positions() -> None:
    model = build_sam(DETAILED)
    found = matrices_of(model)
    names = {name for name, parameter in model.named_parameters() if parameter in found}
    others = ("iou_token.", "mask_tokens.", "rel_pos", "pos_embed", "point_embeddings", ".bias")
    assert not any(other in name for name in names for other in others)
    assert any("stem" in name or "to_tokens" in name for name in names)
    assert sum(p.numel() for p in found) > 0.8 * sum(p.numel() for p in model.parameters())


def step(parameters: list[nn.Parameter], optimiser: Muon, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimiser.step()


def test_steps_have_the_size_of_adamws_whatever_the_gradient_and_the_shape() -> None:
    for shape in ((32, 32), (16, 4, 4, 4)):
        for scale in (1e-6, 1e3):
            parameter = nn.Parameter(torch.zeros(shape))
            parameter.grad = scale * torch.randn(shape, generator=torch.Generator().manual_seed(1))
            Muon([parameter], lr=0.01).step()
            size = parameter.detach().square().mean().sqrt() / 0.01
            # Liu et al. 2025, section 2.2: about 0.2 for a matrix of full rank.
            assert 0.1 < size < 0.3


def test_weights_decay_and_what_has_no_gradient_stays() -> None:
    decayed, still = (nn.Parameter(torch.ones(16, 16)) for _ in range(2))
    decayed.grad = torch.zeros(16, 16)
    Muon([decayed, still], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(decayed.detach(), torch.full((16, 16), 0.95))
    assert torch.equal(still.detach(), torch.ones(16, 16))


def test_it_goes_on_where_it_was_saved() -> None:
    ours = [nn.Parameter(torch.zeros(16, 16)), nn.Parameter(torch.zeros(16, 16))]
    optimiser = Muon(ours, lr=0.1)
    step(ours, optimiser, 0)
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    other = Muon(theirs, lr=0.1)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    step(ours, optimiser, 1)
    step(theirs, other, 1)
    for one, another in zip(ours, theirs, strict=True):
        assert torch.equal(one, another)


def test_it_learns_what_a_matrix_does() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(16, 16, generator=generator)
    layer = nn.Linear(16, 16, bias=False)
    optimiser = Muon(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(200):
        x = torch.randn(64, 16, generator=generator)
        loss = (layer(x) - x @ truth.mT).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]
