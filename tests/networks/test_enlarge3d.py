"""Carrying over what was learned from small cubes."""

from __future__ import annotations

from dataclasses import replace

import torch

from lib.networks.enlarge3d import enlarged
from lib.networks.sam3d import PromptTensors3d, build_sam3d
from tests.support.small_sam3d import SMALL3D


@torch.no_grad()
def small():
    torch.manual_seed(0)
    model = build_sam3d(replace(SMALL3D, image_size=32))
    for name, parameter in model.named_parameters():
        if "pos" in name:
            parameter.normal_()
    return model


@torch.no_grad()
def test_the_same_size_is_the_same_network() -> None:
    model = small()
    same = enlarged(model, 32).state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(same[name], value)


@torch.no_grad()
def test_what_does_not_know_the_size_stays_and_the_rest_is_stretched() -> None:
    model = small()
    larger = enlarged(model, 64)
    assert larger.config.image_size == 64
    own, new = model.state_dict(), larger.state_dict()
    changed = {name for name in own if not torch.equal(own[name], new[name])}
    assert all("pos" in name for name in changed)
    table = next(name for name in own if name.endswith("rel_pos_d"))
    assert new[table].shape[0] == 7 and own[table].shape[0] == 3
    torch.testing.assert_close(new[table][[0, 3, 6]], own[table])
    assert larger.encode(torch.zeros(1, 1, 64, 64, 64)).shape[-1] == 4


@torch.no_grad()
def test_clicks_one_voxel_apart_differ_as_much_as_before() -> None:
    model = small()
    larger = enlarged(model, 64)
    labels = torch.ones(1, 2, dtype=torch.long)

    def difference(network, first: float) -> float:
        points = torch.tensor([[[first, 16.0, 16.0], [first + 1, 16.0, 16.0]]])
        tokens, _ = network.prompt_encoder(*PromptTensors3d(points, labels).parts)
        return float((tokens[0, 0] - tokens[0, 1]).norm())

    means = [
        sum(difference(network, float(v)) for v in range(8, 24)) / 16 for network in (model, larger)
    ]
    assert abs(means[0] - means[1]) < 0.15 * means[0]
