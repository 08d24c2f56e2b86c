"""Adapters in the decoder: identity at the start, and what they know of the prompt."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import get_args

import pytest
import torch

from lib.networks import AdapterSam, build_sam, load_checkpoint
from lib.networks.architectures import Conditioning
from lib.networks.prompt_adapter import PromptAdapter, mean_token
from lib.networks.sam import PromptTensors
from tests.support import golden

KINDS = [kind for kind in get_args(Conditioning) if kind != "none"]
CLICKS = PromptTensors(
    points=torch.tensor([[[80.0, 90.0]], [[20.0, 30.0]]]), labels=torch.tensor([[1], [0]])
)
MASKS = PromptTensors(masks=torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)))


@cache
def plain_sam() -> AdapterSam:
    return golden.tiny_model()


def adapted(kind: Conditioning) -> AdapterSam:
    model = build_sam(replace(golden.TINY, adapters=("samed2d", "medsa"), decoder_adapters=kind))
    load_checkpoint(model, golden.FOLDER / "samed2d_tiny_published_layout.pth")
    return model


@pytest.mark.parametrize("prompts", [CLICKS, MASKS], ids=["clicks", "masks alone"])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_decoder_that_just_got_them_answers_as_before(
    kind: Conditioning, prompts: PromptTensors
) -> None:
    embeddings = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(1))
    logits, iou = plain_sam().decode_all(embeddings, prompts)
    found, found_iou = adapted(kind).decode_all(embeddings, prompts)
    assert torch.equal(found, logits) and torch.equal(found_iou, iou)


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_them_learn_after_the_first_step(kind: Conditioning) -> None:
    model = adapted(kind)
    ours = {n: p for n, p in model.mask_decoder.named_parameters() if "_Adapter." in n}
    embeddings = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.SGD(ours.values(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        model.decode_all(embeddings, CLICKS)[0].square().mean().backward()
        optimiser.step()
    still = [n for n, p in ours.items() if p.grad is None or not p.grad.any()]
    assert still == []


def opened(kind: Conditioning) -> PromptAdapter:
    """An adapter that adds something and whose generated weights are not constant."""
    torch.manual_seed(2)
    adapter = PromptAdapter(32, 0.25, kind)
    torch.nn.init.normal_(adapter.D_fc2.weight)
    if adapter.weights is not None:
        torch.nn.init.normal_(adapter.weights.weight)
    return adapter


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_each_row_knows_its_own_prompt(kind: Conditioning) -> None:
    adapter = opened(kind)
    tokens, prompt = torch.randn(1, 5, 32).expand(2, -1, -1), torch.randn(2, 32)
    together = adapter(tokens, prompt)
    assert torch.equal(together[0], together[1]) == (kind == "plain")
    assert golden.relative_error(together[1:], adapter(tokens[1:], prompt[1:])) <= 1e-6


@torch.inference_mode()
def test_hyp_adapter_follows_its_equations() -> None:
    adapter = opened("hyp")
    tokens, prompt = torch.randn(1, 5, 32), torch.randn(1, 32)
    assert adapter.of_prompt is not None and adapter.weights is not None
    known = adapter.of_prompt(prompt[0]).clamp(min=0)
    matrix = (adapter.weights.weight @ known + adapter.weights.bias).reshape(8, 8)
    inside = adapter.D_fc1(tokens[0]) @ matrix
    scaled = (inside - inside.mean(1, keepdim=True)) / inside.var(1, False, True).add(1e-5).sqrt()
    expected = tokens[0] + adapter.D_fc2(scaled.clamp(min=0))
    assert golden.relative_error(adapter(tokens, prompt)[0], expected) <= 1e-5


def test_a_prompt_is_the_mean_of_its_tokens_and_zero_without_any() -> None:
    tokens = torch.randn(2, 3, 4)
    assert torch.allclose(mean_token(tokens), tokens.mean(dim=1))
    assert not mean_token(tokens[:, :0]).any()
