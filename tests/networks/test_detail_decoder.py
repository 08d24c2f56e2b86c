"""The network with a stem, drawn prompts and a detail decoder, as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib.networks import PromptTensors, build_sam, load_checkpoint
from lib.networks.checkpoint import save_weights
from lib.networks.fast_encoder import FastEncoder
from lib.networks.openvino_encoder import OpenVinoEncoder, export_encoder
from lib.networks.training_encoder import TrainingEncoder
from tests.networks.detailed import DETAILED, detailed_model

POINTS = torch.tensor([[[60.0, 80.0]], [[200.0, 30.0]]])
LABELS = torch.tensor([[1], [1]])


@pytest.fixture(scope="module")
def embeddings() -> torch.Tensor:
    torch.manual_seed(1)
    with torch.inference_mode():
        return detailed_model().encode(torch.randn(2, 3, 256, 256))


def test_details_travel_behind_the_embedding(embeddings: torch.Tensor) -> None:
    assert DETAILED.embedding_channels == 32 + 64
    assert embeddings.shape == (2, 96, 16, 16)


@pytest.mark.parametrize(
    "prompts",
    [
        PromptTensors(POINTS, LABELS),
        PromptTensors(boxes=torch.tensor([[10.0, 20, 90, 99], [0, 0, 255, 255]])),
        PromptTensors(masks=torch.rand(2, 1, 64, 64)),
        PromptTensors(POINTS, LABELS, torch.rand(2, 4) * 255, torch.rand(2, 1, 64, 64)),
    ],
    ids=["points", "boxes", "masks", "all"],
)
@torch.inference_mode()
def test_rows_equal_single_decodes(embeddings: torch.Tensor, prompts: PromptTensors) -> None:
    model = detailed_model()
    logits, iou = model.decode_all(embeddings, prompts)
    assert logits.shape == (2, 4, 64, 64) and iou.shape == (2, 4)
    for row in range(2):
        parts = (None if p is None else p[row : row + 1] for p in prompts.parts)
        alone = PromptTensors(*parts)
        single, _ = model.decode_all(embeddings[row : row + 1], alone)
        torch.testing.assert_close(single[0], logits[row], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_one_image_serves_all_rows(embeddings: torch.Tensor) -> None:
    model = detailed_model()
    shared, _ = model.decode_all(embeddings[:1], PromptTensors(POINTS, LABELS))
    repeated, _ = model.decode_all(embeddings[[0, 0]], PromptTensors(POINTS, LABELS))
    torch.testing.assert_close(shared, repeated, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_details_and_drawn_prompts_reach_the_masks(embeddings: torch.Tensor) -> None:
    model = detailed_model()
    prompts = PromptTensors(POINTS, LABELS)
    logits, _ = model.decode_all(embeddings, prompts)
    without = embeddings.clone()
    without[:, 32:] = 0
    assert (model.decode_all(without, prompts)[0] - logits).abs().max() > 1e-4
    for parameter in model.prompt_encoder.maps.parameters():
        parameter.zero_()
    assert (model.decode_all(embeddings, prompts)[0] - logits).abs().max() > 1e-4


def test_all_encoders_agree() -> None:
    torch.manual_seed(2)
    images = torch.randn(1, 3, 256, 256)
    model = detailed_model()
    with torch.inference_mode():
        expected = model.encode(images)
        fast = FastEncoder(model.image_encoder).eval()(images)
        torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-4)
        exported = OpenVinoEncoder(export_encoder(model), "fp32").encode(images)
        torch.testing.assert_close(exported, expected, rtol=1e-3, atol=1e-3)
    trained = TrainingEncoder(model)(images)
    torch.testing.assert_close(trained, expected, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns() -> None:
    model = detailed_model().train()
    images = torch.randn(2, 3, 256, 256)
    embedding = model.encode(images)
    everything = PromptTensors(
        POINTS.repeat(1, 2, 1),
        torch.tensor([[1, 0], [-1, 1]]),
        torch.tensor([[10.0, 20, 90, 99], [5, 6, 200, 201]]),
        torch.rand(2, 1, 64, 64),
    )
    logits, iou = model.decode_all(embedding, everything)
    no_mask, _ = model.decode_all(embedding, PromptTensors(POINTS, LABELS))
    (logits.square().mean() + iou.square().mean() + no_mask.square().mean()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_weights_are_saved_and_loaded(tmp_path: Path, embeddings: torch.Tensor) -> None:
    model = detailed_model()
    save_weights(model, tmp_path / "w.safetensors")
    other = build_sam(DETAILED)
    load_checkpoint(other, tmp_path / "w.safetensors")
    with torch.inference_mode():
        expected = model.decode_all(embeddings, PromptTensors(POINTS, LABELS))[0]
        assert torch.equal(other.decode_all(embeddings, PromptTensors(POINTS, LABELS))[0], expected)
