"""The decoder by matrix products computes what SAM's decoder computes."""

from __future__ import annotations

import pytest
import torch

from lib.networks import AdapterSam
from lib.networks.fast_decoder import predict_masks
from tests.networks.test_fast_encoder import with_random_positions
from tests.support import golden

ROWS = 3


def inputs(model: AdapterSam, images: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(images)
    dim = model.config.prompt_dim
    return {
        "image_embeddings": torch.randn(images, dim, 16, 16, generator=generator),
        "image_pe": model.prompt_encoder.get_dense_pe(),
        "sparse": torch.randn(ROWS, 2, dim, generator=generator),
        "dense": torch.randn(ROWS, dim, 16, 16, generator=generator),
    }


def by_sam(model: AdapterSam, given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    logits, iou = model.mask_decoder.predict_masks(
        given["image_embeddings"], given["image_pe"], given["sparse"], given["dense"]
    )
    return logits, iou


def test_masks_and_gradients_are_those_of_sam() -> None:
    model = with_random_positions(golden.tiny_model())
    found_gradients, expected_gradients = [], []
    answers = []
    for decode, kept in (
        (lambda g: predict_masks(model.mask_decoder, **g), found_gradients),
        (lambda g: by_sam(model, g), expected_gradients),
    ):
        model.zero_grad()
        given = inputs(model, 1)
        given["dense"].requires_grad_()
        logits, iou = decode(given)
        (logits.square().mean() + iou.square().mean()).backward()
        kept += [given["dense"].grad, *(p.grad for p in model.mask_decoder.parameters())]
        answers.append((logits.detach(), iou.detach()))
    (logits, iou), (expected_logits, expected_iou) = answers
    assert logits.shape == (ROWS, 4, 64, 64)
    assert golden.relative_error(logits, expected_logits) <= 1e-5
    assert golden.relative_error(iou, expected_iou) <= 1e-5
    for found, expected in zip(found_gradients, expected_gradients, strict=True):
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-7


@torch.inference_mode()
def test_rows_of_several_images() -> None:
    model = golden.tiny_model()
    given = inputs(model, ROWS)
    logits, iou = predict_masks(model.mask_decoder, **given)
    for row in range(ROWS):
        alone = {
            name: value if name == "image_pe" else value[row : row + 1]
            for name, value in given.items()
        }
        expected_logits, expected_iou = by_sam(model, alone)
        assert golden.relative_error(logits[row : row + 1], expected_logits) <= 1e-5
        assert golden.relative_error(iou[row : row + 1], expected_iou) <= 1e-5


def test_autocast_is_close() -> None:
    model = golden.tiny_model()
    given = inputs(model, 1)
    expected, _ = by_sam(model, given)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = predict_masks(model.mask_decoder, **given)
    assert (found - expected).norm() <= 0.05 * expected.norm()


def test_another_upscaling_is_not_taken_for_sams() -> None:
    model = golden.tiny_model()
    model.mask_decoder.output_upscaling[1] = torch.nn.Identity()
    with pytest.raises(AssertionError):
        predict_masks(model.mask_decoder, **inputs(model, 1))
