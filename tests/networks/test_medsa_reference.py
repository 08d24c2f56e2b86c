"""Medical SAM Adapter's public code, number by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import CheckpointError
from lib.networks.medsa_checkpoint import load_reference
from lib.networks.medsa_reference import ReferenceBlock, ReferenceMedSa, closest_numbers
from lib.networks.sam import PromptTensors
from tests.support import golden

BLOCKS = golden.load("medsa_blocks.npz")
WHOLE = golden.load("medsa_tiny_io.npz")
WEIGHTS = golden.tensors(golden.load("medsa_tiny_weights.npz"), "")


@pytest.mark.parametrize(
    ("case", "window", "depth"),
    [
        ("block2d_w0", 0, 0),
        ("block2d_w14", 14, 0),
        ("block3d_w0_2x3", 0, 3),
        ("block3d_w14_chunk6", 14, 6),
        ("block3d_w14_onewindow", 14, 6),
    ],
)
def test_block_equals_the_original(case: str, window: int, depth: int) -> None:
    block = ReferenceBlock(32, 2, window, window or 16)
    block.load_state_dict(golden.tensors(BLOCKS, f"{case}.sd."))
    x = torch.tensor(BLOCKS[f"{case}.x"], requires_grad=True)
    y = block(x, depth)
    assert golden.relative_error(y.detach(), BLOCKS[f"{case}.y"]) <= 1e-5
    (y * torch.tensor(BLOCKS[f"{case}.cotangent"])).sum().backward()
    assert golden.relative_error(x.grad, BLOCKS[f"{case}.grad_x"]) <= 1e-5
    parameters = dict(block.named_parameters())
    expected = golden.below(BLOCKS, f"{case}.grad.")
    assert len(expected) == (12 if depth else 8)
    for name, gradient in expected.items():
        assert golden.relative_error(parameters[name].grad, gradient) <= 1e-5, name


@pytest.mark.parametrize(
    ("case", "depth", "classes"), [("2d", 0, 1), ("3d", 4, 1), ("2d_two_classes", 0, 2)]
)
@torch.no_grad()
def test_network_equals_the_original(case: str, depth: int, classes: int) -> None:
    model = ReferenceMedSa(golden.TINY, classes).eval()
    model.load_state_dict(WEIGHTS)
    images = torch.tensor(WHOLE[f"{case}.x_u8"]).float() / 255
    features = model.encode(images, depth)
    assert golden.relative_error(features, WHOLE[f"{case}.features"]) <= 1e-4
    points, labels = torch.tensor(WHOLE[f"{case}.points"]), torch.tensor(WHOLE[f"{case}.labels"])
    sparse, _ = model.prompt_encoder((points, labels), None, None)
    assert golden.relative_error(sparse, WHOLE[f"{case}.sparse"]) <= 1e-4
    logits, iou = model.decode(features, PromptTensors(points, labels))
    assert golden.relative_error(logits, WHOLE[f"{case}.low_res"]) <= 1e-4
    assert golden.relative_error(iou, WHOLE[f"{case}.iou"]) <= 1e-4


def test_grids_of_slices() -> None:
    for depth, rows, columns in BLOCKS["closest_numbers"].tolist():
        assert closest_numbers(depth) == (rows, columns)
    assert closest_numbers(1) == (1, 1)


def public_file(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """As the public code's training writes it."""
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    beside = {"epoch": 3, "model": "sam", "best_tol": torch.tensor(0.4), "path_helper": {"p": "x"}}
    torch.save({**beside, "state_dict": tensors, "optimizer": adam.state_dict()}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_checkpoint_is_loaded(prefix: str, tmp_path: Path) -> None:
    named = {
        prefix + name.replace(".rel_h", ".rel_pos_h" if prefix else ".rel_h"): tensor
        for name, tensor in WEIGHTS.items()
    }
    model = load_reference(public_file(tmp_path / "best.pth", named), golden.TINY)
    assert all(torch.equal(t, WEIGHTS[name]) for name, t in model.state_dict().items())


@torch.no_grad()
def test_tables_for_1024_pixels_are_stretched_and_not_dropped(tmp_path: Path) -> None:
    name = "image_encoder.blocks.1.attn.rel_h"
    longer = torch.randn(127, WEIGHTS[name].shape[1])
    file = public_file(tmp_path / "best.pth", {**WEIGHTS, name: longer})
    model = load_reference(file, golden.TINY)
    assert torch.equal(model.state_dict()[name], longer)
    features = model.encode(torch.tensor(WHOLE["2d.x_u8"][:1]).float() / 255)
    assert np.abs(features.numpy() - WHOLE["2d.features"][:1]).max() > 1e-2


@pytest.mark.parametrize("change", ["lacks", "has another", "shape"])
def test_a_file_that_does_not_fit_is_refused(change: str, tmp_path: Path) -> None:
    name = "mask_decoder.iou_token.weight"
    tensors = dict(WEIGHTS)
    if change == "lacks":
        del tensors[name]
    elif change == "shape":
        tensors[name] = torch.zeros(2, 32)
    else:
        name = "unheard_of"
        tensors[name] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=name):
        load_reference(public_file(tmp_path / "best.pth", tensors), golden.TINY)
