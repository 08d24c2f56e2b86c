"""The assembled network for volumes against the original's numbers, names and counts."""

from __future__ import annotations

import pytest
import torch

from lib.networks.architectures3d import ARCHITECTURES3D
from lib.networks.sam3d import PromptTensors3d, Sam3d, build_sam3d, upsample_logits3d
from tests.support import golden
from tests.support.golden3d import tiny_model3d

CASES = {
    "pt1_zero_mask": ("pt1", "zero"),
    "pt1_no_mask": ("pt1", None),
    "pt3_zero_mask": ("pt3", "zero"),
    "pt3_prev_mask": ("pt3", "previous"),
    "mask_only": (None, "previous"),
    "pt1_multimask": ("pt1", "zero"),
}
"""Case -> its points and its mask prompt."""


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    return {k: torch.tensor(v) for k, v in golden.load("sammed3d_tiny_io.npz").items()}


@pytest.fixture(scope="module")
def model() -> Sam3d:
    return tiny_model3d()


def prompts_of(case: str, reference: dict[str, torch.Tensor]) -> PromptTensors3d:
    points, mask = CASES[case]
    masks = {
        None: None,
        "zero": torch.zeros(1, 1, 32, 32, 32),
        "previous": reference["pt1_zero_mask.low_res"],
    }[mask]
    if points is None:
        return PromptTensors3d(masks=masks)
    return PromptTensors3d(reference[f"{points}.points"], reference[f"{points}.labels"], masks)


@torch.no_grad()
def test_features_equal_the_original(model: Sam3d, reference: dict[str, torch.Tensor]) -> None:
    features = model.encode(reference["volume_f16"].float())
    assert golden.relative_error(features, reference["features"]) <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_prompts_are_encoded_and_decoded_as_by_the_original(
    case: str, model: Sam3d, reference: dict[str, torch.Tensor]
) -> None:
    prompts = prompts_of(case, reference)
    sparse, dense = model.prompt_encoder(*prompts.parts)
    assert golden.relative_error(sparse, reference[f"{case}.sparse"]) <= 1e-4
    if f"{case}.dense" in reference:
        assert golden.relative_error(dense, reference[f"{case}.dense"]) <= 1e-4
    logits, iou = model.decode(reference["features"], prompts, multimask="multimask" in case)
    assert golden.relative_error(logits, reference[f"{case}.low_res"]) <= 1e-4
    assert golden.relative_error(iou, reference[f"{case}.iou"]) <= 1e-4
    large = upsample_logits3d(logits[:, :1], 128)
    assert golden.relative_error(large[..., ::16, ::16, ::16], reference[f"{case}.hr_corner"]) <= (
        1e-4
    )
    voxels = int(reference[f"{case}.mask_voxels"])
    assert abs(int((large > 0.0).sum()) - voxels) <= 1e-4 * voxels


def test_positions_of_cells_equal_the_original(
    model: Sam3d, reference: dict[str, torch.Tensor]
) -> None:
    encoding = model.prompt_encoder.get_dense_pe()
    assert golden.relative_error(encoding, reference["dense_pe"]) <= 1e-5


def test_released_size_has_the_released_tensors_and_counts() -> None:
    with torch.device("meta"):
        model = build_sam3d(ARCHITECTURES3D["sammed3d_b"])
    names = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
    listed = (golden.FOLDER / "sammed3d_vit_b_ori_state_dict_keys.txt").read_text().splitlines()
    assert names == [line for line in listed if line.strip()]
    counts = {
        part: sum(p.numel() for p in getattr(model, part).parameters())
        for part in ("image_encoder", "prompt_encoder", "mask_decoder")
    }
    assert counts == {
        "image_encoder": 92_924_928,
        "prompt_encoder": 8_668,
        "mask_decoder": 7_575_636,
    }
    assert sum(counts.values()) == 100_509_232


def test_the_compact_size_is_small() -> None:
    with torch.device("meta"):
        model = build_sam3d(ARCHITECTURES3D["sammed3d_t"])
    assert 2 * sum(p.numel() for p in model.parameters()) <= 10_000_000


@torch.no_grad()
def test_rows_equal_single_decodes() -> None:
    torch.manual_seed(1)
    model = build_sam3d(ARCHITECTURES3D["sammed3d_t"])
    embeddings = torch.randn(2, model.config.embedding_channels, 8, 8, 8)
    points = torch.rand(2, 3, 3) * 128
    labels = torch.tensor([[1, 0, 1], [1, 1, -1]])
    masks = torch.randn(2, 1, 32, 32, 32)
    together, iou = model.decode(embeddings, PromptTensors3d(points, labels, masks))
    assert together.shape == (2, 1, 32, 32, 32)
    for row in range(2):
        own = slice(row, row + 1)
        prompts = PromptTensors3d(points[own], labels[own], masks[own])
        alone, iou_alone = model.decode(embeddings[own], prompts)
        torch.testing.assert_close(together[own], alone, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(iou[own], iou_alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_padding_points_and_an_empty_mask_say_nothing_to_the_maps() -> None:
    model = build_sam3d(ARCHITECTURES3D["sammed3d_t"])
    points, labels = torch.full((1, 2, 3), 60.0), torch.tensor([[1, -1]])
    points[0, 1] = 10.0
    one = model.prompt_encoder.draw(points[:, :1], labels[:, :1], None)
    both = model.prompt_encoder.draw(points, labels, torch.zeros(1, 1, 32, 32, 32))
    assert torch.equal(one, both)
    # The click is in the middle of voxel 60, so at 14.625 of the map.
    assert divmod(int(one[0, 0].argmax()), 32 * 32)[0] == 15
    assert one[0, 0].max() > 0.8
