"""The assembled network: names, counts, and rows of prompts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.networks import (
    ARCHITECTURES,
    PromptTensors,
    build_sam,
    choose_best,
    find_architecture,
)
from lib.networks.sam import blend_masks
from tests.support import golden


def test_published_size_has_the_published_tensors() -> None:
    with torch.device("meta"):
        model = build_sam(ARCHITECTURES["samed2d_b"])
    names = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
    listed = (golden.FOLDER / "samed2d_vit_b_state_dict_keys.txt").read_text().splitlines()
    assert len(names) == 386
    assert names == [line for line in listed if line.strip()]


@pytest.mark.parametrize(
    ("part", "count"),
    [
        ("", 271_241_776),
        ("image_encoder.", 267_177_216),
        ("prompt_encoder.", 6_220),
        ("mask_decoder.", 4_058_340),
    ],
)
def test_published_size_has_the_published_parameter_counts(part: str, count: int) -> None:
    with torch.device("meta"):
        model = build_sam(ARCHITECTURES["samed2d_b"])
    counted = sum(p.numel() for name, p in model.named_parameters() if name.startswith(part))
    assert counted == count


def test_adapters_of_the_published_size() -> None:
    with torch.device("meta"):
        model = build_sam(ARCHITECTURES["samed2d_b"])
    adapters = sum(p.numel() for name, p in model.named_parameters() if ".Adapter." in name)
    assert adapters == 180_504_576


@pytest.mark.parametrize(
    ("name", "depth", "dim"), [("samed2d_l", 24, 1024), ("samed2d_h", 32, 1280)]
)
def test_larger_sizes(name: str, depth: int, dim: int) -> None:
    with torch.device("meta"):
        model = build_sam(ARCHITECTURES[name])
    assert len(model.image_encoder.blocks) == depth
    assert model.image_encoder.pos_embed.shape == (1, 16, 16, dim)
    assert all(hasattr(block, "Adapter") for block in model.image_encoder.blocks)


def test_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Exception, match=r"samed2d_x.*samed2d_b"):
        find_architecture("samed2d_x")


def test_dense_positional_encoding_equals_the_original() -> None:
    encoding = golden.tiny_model().prompt_encoder.get_dense_pe()
    reference = golden.load("samed2d_tiny_io.npz")["dense_pe"]
    assert golden.relative_error(encoding.detach(), reference) <= 1e-5


def test_rows_of_several_images_equal_single_decodes() -> None:
    model = golden.tiny_model()
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(3, 32, 16, 16, generator=generator)
    points = torch.rand(3, 2, 2, generator=generator) * 256
    labels = torch.tensor([[1, 0], [1, 1], [0, 1]])
    with torch.inference_mode():
        together, iou = model.decode(embeddings, PromptTensors(points, labels))
        for row in range(3):
            alone, iou_alone = model.decode(
                embeddings[row : row + 1],
                PromptTensors(points[row : row + 1], labels[row : row + 1]),
            )
            torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(iou[row], iou_alone[0], rtol=1e-4, atol=1e-4)


def test_every_row_chooses_its_own_best_mask() -> None:
    logits = torch.arange(2 * 3 * 4.0).view(2, 3, 2, 2)
    iou = torch.tensor([[0.1, 0.9, 0.2], [0.7, 0.3, 0.4]])
    best, best_iou = choose_best(logits, iou)
    assert best.shape == (2, 1, 2, 2)
    assert torch.equal(best[0, 0], logits[0, 1])
    assert torch.equal(best[1, 0], logits[1, 0])
    assert best_iou.flatten().tolist() == pytest.approx([0.9, 0.7])


def test_candidates_are_blended_by_how_good_they_may_be() -> None:
    logits = torch.tensor([[1.0, 3.0, -8.0], [1.0, 3.0, -8.0]])[:, :, None, None].expand(2, 3, 2, 2)
    iou = torch.tensor([[0.8, 0.8, 0.1], [0.9, 0.6, 0.1]])
    shown, shown_iou = blend_masks(logits, iou, spread=0.03)
    assert shown.shape == (2, 1, 2, 2) and shown_iou.shape == (2, 1)
    # Equals are averaged; what is clearly worse does not count.
    assert shown[:, 0, 0, 0].tolist() == pytest.approx([2.0, 1.0], abs=1e-3)
    assert shown_iou.flatten().tolist() == pytest.approx([0.8, 0.9], abs=1e-3)


@pytest.mark.parametrize("blend", [None, 0.03])
def test_a_network_shows_what_its_architecture_says(blend: float | None) -> None:
    model = golden.tiny_model()
    model.config = replace(model.config, blend=blend)
    logits, iou = torch.randn(2, 3, 4, 4), torch.rand(2, 3)
    expected = choose_best(logits, iou) if blend is None else blend_masks(logits, iou, blend)
    for shown, wanted in zip(model.shown(logits, iou), expected, strict=True):
        assert torch.equal(shown, wanted)


def test_normalisation_uses_the_published_constants() -> None:
    model = golden.tiny_model()
    black = model.normalise(torch.zeros(1, 3, 1, 1)).flatten()
    expected = [-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375]
    assert black.tolist() == pytest.approx(expected)
    assert "pixel_mean" not in model.state_dict()
