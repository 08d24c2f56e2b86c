"""The fast encoder computes what the network computes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.networks import AdapterSam, build_sam
from lib.networks.fast_encoder import FastEncoder
from lib.networks.slab_encoder import SlabEncoder
from tests.support import golden


def with_random_positions(model: AdapterSam) -> AdapterSam:
    """Weights as after training: SAM starts positions and biases at zero, which hides mistakes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "rel_pos" in name or name.endswith("bias") or "pos_embed" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("window_size", [0, 3, 5, 8, 9, 14, 16, 20])
@torch.inference_mode()
def test_equals_the_network_for_every_way_of_cutting_the_grid(
    window_size: int, trainable: bool
) -> None:
    torch.manual_seed(window_size)
    shape = replace(golden.TINY, window_size=window_size, depth=2, global_attention=(1,))
    model = with_random_positions(build_sam(shape))
    images = torch.randn(2, 3, 256, 256)
    expected = model.encode(images)
    found = FastEncoder(model.image_encoder, trainable)(images)
    assert golden.relative_error(found, expected) <= 1e-5


@torch.inference_mode()
def test_a_block_without_adapter() -> None:
    model = golden.tiny_model()
    for block in model.image_encoder.blocks:
        block.use_adapter = False
    images = torch.randn(1, 3, 256, 256)
    expected = model.encode(images)
    assert golden.relative_error(FastEncoder(model.image_encoder)(images), expected) <= 1e-5


@pytest.mark.parametrize("trainable", [False, True])
@torch.inference_mode()
def test_adapters_of_medsa(trainable: bool) -> None:
    shape = replace(golden.TINY, adapters=("samed2d", "medsa"))
    model = with_random_positions(build_sam(shape))
    for name, parameter in model.named_parameters():
        if "D_fc2.weight" in name:
            parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(name)))
    images = torch.randn(2, 3, 256, 256)
    found = FastEncoder(model.image_encoder, trainable)(images)
    assert golden.relative_error(found, model.encode(images)) <= 1e-5


@torch.inference_mode()
def test_a_slab_attends_along_depth_as_the_blocks_do() -> None:
    model = with_random_positions(build_sam(replace(golden.TINY, adapters=("medsa",))))
    for name, parameter in model.named_parameters():
        if "D_fc2.weight" in name:
            parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(len(name)))
    images = torch.randn(6, 3, 256, 256)
    encoder = model.image_encoder
    tokens = encoder.patch_embed(images) + encoder.pos_embed
    for block in encoder.blocks:
        tokens = block(tokens, 3)
    expected = encoder.neck(tokens.permute(0, 3, 1, 2))
    fast = FastEncoder(encoder)
    assert golden.relative_error(fast(images, 3), expected) <= 1e-5
    assert golden.relative_error(SlabEncoder(model, 3).encode(images[3:]), expected[3:]) <= 1e-5
    assert golden.relative_error(fast(images), expected) > 1e-2


def test_parameters_are_shared_and_not_copied() -> None:
    model = golden.tiny_model()
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    fast = list(FastEncoder(model.image_encoder).parameters())
    assert fast
    assert all(parameter.data_ptr() in shared for parameter in fast)
