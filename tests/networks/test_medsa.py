"""Med-SA's adapters and blocks: they start as identity, and slabs attend along depth."""

from __future__ import annotations

import pytest
import torch

from lib.networks.encoder import AdapterBlock
from lib.networks.medsa import MedSaAdapter, attend_along_depth
from tests.support import golden

GOLDEN = golden.load("medsa_blocks.npz")
GRID = (16, 16)


@pytest.mark.parametrize(("case", "skip"), [("adapter_skip", True), ("adapter_noskip", False)])
def test_adapter_equals_the_original(case: str, skip: bool) -> None:
    adapter = MedSaAdapter(32, skip_connect=skip)
    adapter.load_state_dict(golden.tensors(GOLDEN, f"{case}.sd."))
    x = torch.tensor(GOLDEN[f"{case}.x"], requires_grad=True)
    y = adapter(x)
    assert golden.relative_error(y.detach(), GOLDEN[f"{case}.y"]) <= 1e-5
    (y * torch.tensor(GOLDEN[f"{case}.cotangent"])).sum().backward()
    assert golden.relative_error(x.grad, GOLDEN[f"{case}.grad_x"]) <= 1e-5


def test_a_new_adapter_adds_nothing_and_is_the_same_everywhere() -> None:
    torch.manual_seed(1)
    first = MedSaAdapter(32, skip_connect=False)
    torch.manual_seed(2)
    second = MedSaAdapter(32, skip_connect=False)
    assert torch.equal(first.D_fc1.weight, second.D_fc1.weight)
    assert first.D_fc1.weight.abs().max() > 0.1
    assert not first(torch.randn(3, 32)).any()


def test_the_bottleneck_never_vanishes() -> None:
    assert MedSaAdapter(8, ratio=0.01).D_fc1.out_features == 1


def blocks(window: int) -> tuple[AdapterBlock, AdapterBlock]:
    """A block of SAM, and the same one with Med-SA's adapters, with positions that are not zero."""
    torch.manual_seed(3)
    plain = AdapterBlock(32, 2, window, GRID, adapters=())
    torch.nn.init.normal_(plain.attn.rel_pos_h)
    torch.nn.init.normal_(plain.attn.rel_pos_w)
    adapted = AdapterBlock(32, 2, window, GRID, adapters=("medsa",))
    missing = adapted.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all("_Adapter." in name for name in missing)
    return plain, adapted


@pytest.mark.parametrize("window", [0, 14])
def test_a_block_that_just_got_adapters_is_the_block_it_was(window: int) -> None:
    plain, adapted = blocks(window)
    x = torch.randn(6, *GRID, 32)
    assert torch.equal(adapted(x), plain(x))
    assert torch.equal(adapted(x, depth=3), plain(x))


@pytest.mark.parametrize("window", [0, 14])
def test_depth_joins_the_same_place_of_the_slices_of_one_slab(window: int) -> None:
    _, block = blocks(window)
    torch.nn.init.normal_(block.Depth_Adapter.D_fc2.weight)
    x = torch.randn(6, *GRID, 32)
    before = block(x, depth=3)
    other = x.clone()
    other[4, 2, 5] += 1.0  # normalisation takes a constant away
    other[4, 2, 5, 0] += 3.0
    moved = (block(other, depth=3) - before).abs().amax(dim=3) > 1e-6
    assert not moved[:3].any()
    # Its own slice feels it by attention over space, the others at that place alone.
    assert moved[3].nonzero().tolist() == moved[5].nonzero().tolist() == [[2, 5]]
    assert moved[4].sum() > 1


def test_without_a_slab_depth_has_no_part() -> None:
    _, block = blocks(14)
    x = torch.randn(2, *GRID, 32)
    before = block(x)
    torch.nn.init.normal_(block.Depth_Adapter.D_fc2.weight)
    assert torch.equal(block(x), before)


def test_attention_along_depth_is_the_attention_of_a_column_of_slices() -> None:
    """At one place it is SAM's attention over a grid of depth x 1."""
    _, block = blocks(0)
    x = torch.randn(16, 2, 3, 32)
    found = attend_along_depth(block.attn, x, 16)
    column = x[:, 1, 2].reshape(1, 16, 1, 32)
    assert (
        golden.relative_error(found[:, 1, 2].detach(), block.attn(column)[0, :, 0].detach()) <= 1e-5
    )


def test_a_slab_deeper_than_the_table_keeps_its_farthest_position() -> None:
    _, block = blocks(14)
    assert attend_along_depth(block.attn, torch.randn(40, 2, 2, 32), 40).shape == (40, 2, 2, 32)
