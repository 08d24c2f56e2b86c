"""The encoder for training: the network's own result and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.networks import AdapterSam, build_sam
from lib.networks.training_encoder import TrainingEncoder
from tests.networks.test_fast_encoder import with_random_positions
from tests.support import golden

VIT_LIKE = replace(golden.TINY, embed_dim=96, depth=2, num_heads=3, global_attention=(1,))
"""Two blocks, one with the windows of 14 tokens that do not fit a grid of 16."""


def make_model(name: str) -> AdapterSam:
    if name == "tiny":
        return golden.tiny_model()
    torch.manual_seed(3)
    return with_random_positions(build_sam(VIT_LIKE))


def train_adapters_only(model: AdapterSam) -> None:
    for name, parameter in model.image_encoder.named_parameters():
        parameter.requires_grad_("Adapter" in name)


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 256, 256, generator=torch.manual_seed(5))


def gradients(model: AdapterSam, embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of every trained parameter of the encoder, for a fixed random gradient of the embeddings."""
    model.zero_grad()
    embeddings.backward(torch.randn(embeddings.shape, generator=torch.manual_seed(6)))
    parameters = dict(model.image_encoder.named_parameters())
    assert all((p.grad is not None) == p.requires_grad for p in parameters.values())
    return {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}


def error(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Relative to the length of the reference."""
    return float((value - reference).norm() / reference.norm())


@pytest.mark.parametrize("name", ["tiny", "vit-like"])
@pytest.mark.parametrize("frozen", [True, False])
def test_result_and_gradients_are_those_of_the_network(name: str, frozen: bool) -> None:
    model = make_model(name)
    if frozen:
        train_adapters_only(model)
    expected = model.encode(images())
    expected_gradients = gradients(model, expected)
    found = TrainingEncoder(model)(images())
    assert golden.relative_error(found.detach(), expected.detach()) <= 1e-5
    found_gradients = gradients(model, found)
    assert found_gradients.keys() == expected_gradients.keys()
    for key, reference in expected_gradients.items():
        assert error(found_gradients[key], reference) <= 1e-4, key


@pytest.mark.parametrize("frozen", [True, False])
def test_bfloat16_is_close(frozen: bool) -> None:
    model = make_model("vit-like")
    if frozen:
        train_adapters_only(model)
    expected = model.encode(images())
    expected_gradients = gradients(model, expected)
    found = TrainingEncoder(model, torch.bfloat16)(images())
    assert found.dtype == torch.float32
    assert 0 < error(found.detach(), expected.detach()) <= 0.03
    for key, value in gradients(model, found).items():
        assert value.dtype == torch.float32
        assert error(value, expected_gradients[key]) <= 0.1, key


def test_autocast_of_the_caller_is_followed() -> None:
    model = make_model("vit-like")
    encoder = TrainingEncoder(model)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder(images())
    assert rounded.dtype == torch.float32
    assert 0 < error(rounded.detach(), encoder(images()).detach()) <= 0.03


def test_only_frozen_linear_layers_are_copied() -> None:
    model = make_model("vit-like")
    train_adapters_only(model)
    shared = {parameter.data_ptr() for parameter in model.parameters()}
    encoder = TrainingEncoder(model, torch.bfloat16)
    for name, parameter in encoder._network.named_parameters():
        copied = parameter.dtype == torch.bfloat16
        assert copied == (parameter.data_ptr() not in shared), name
        assert not (copied and parameter.requires_grad), name
    copies = [p for p in encoder._network.parameters() if p.dtype == torch.bfloat16]
    linear = ("qkv", "proj", "lin1", "lin2", "neck.0.weight", "neck.2.weight")
    assert len(copies) == sum(
        any(part in name for part in linear) for name, _ in model.image_encoder.named_parameters()
    )


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_step_of_the_optimiser_is_seen(dtype: torch.dtype | None) -> None:
    model = make_model("vit-like")
    train_adapters_only(model)
    encoder = TrainingEncoder(model, dtype)
    before = encoder(images(1)).detach()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
    after = encoder(images(1)).detach()
    assert error(after, before) > 0.01
    assert error(after, model.encode(images(1)).detach()) <= 0.03


def test_what_comes_before_the_first_adapter_is_not_recorded() -> None:
    """The graph begins with the first adapter: no attention of the first block in it."""
    model = make_model("vit-like")
    train_adapters_only(model)
    first = TrainingEncoder(model)._network.blocks[0]
    seen: list[bool] = []
    first.norm2.register_forward_hook(lambda *_: seen.append(_[2].requires_grad))
    first.register_forward_hook(lambda *_: seen.append(_[2].requires_grad))
    first(torch.randn(1, 16, 16, 96))
    assert seen == [False, True]


def test_blocks_without_adapter() -> None:
    model = make_model("tiny")
    for block in model.image_encoder.blocks:
        block.use_adapter = False
    found = TrainingEncoder(model)(images(1))
    assert golden.relative_error(found.detach(), model.encode(images(1)).detach()) <= 1e-5


def test_nothing_to_train_needs_no_graph() -> None:
    model = make_model("tiny").requires_grad_(False)
    assert not TrainingEncoder(model)(images(1)).requires_grad
    assert not TrainingEncoder(model, torch.bfloat16)(images(1)).requires_grad


def test_an_adapter_that_adds_nothing_yet_can_learn() -> None:
    model = make_model("vit-like")
    train_adapters_only(model)
    with torch.no_grad():
        for block in model.image_encoder.blocks:
            block.Adapter.norm.weight.zero_()
            block.Adapter.norm.bias.zero_()
    found = TrainingEncoder(model, torch.bfloat16)(images())
    reached = gradients(model, found)
    assert all(reached[name].any() for name in reached if "Adapter.norm" in name)
