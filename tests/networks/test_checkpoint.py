"""Reading weight files: every layout, and everything that must be refused."""

from __future__ import annotations

import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lib.errors import CheckpointError
from lib.networks import build_sam, build_sam3d, load_checkpoint
from lib.networks.architectures import Architecture
from lib.networks.checkpoint import save_weights, sha256_of
from tests.support import golden
from tests.support.golden3d import TINY3D, tiny_weights

VANILLA = Architecture(
    "vanilla",
    embed_dim=32,
    depth=12,
    num_heads=2,
    global_attention=(2, 5, 8, 11),
    prompt_dim=32,
    decoder_mlp_dim=64,
    iou_hidden_dim=32,
)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {n: torch.tensor(v) for n, v in golden.load("samed2d_tiny_weights.npz").items()}


def assert_golden(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    assert set(state) == set(weights)
    assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_published_layout_with_pickled_optimiser(weights: dict[str, torch.Tensor]) -> None:
    model = build_sam(golden.TINY)
    report = load_checkpoint(model, golden.FOLDER / "samed2d_tiny_published_layout.pth")
    assert_golden(model, weights)
    assert len(report.loaded) == len(weights)
    assert report.leftover == ("optimizer",)
    assert not report.missing
    assert not report.resampled


def test_bare_state_dict(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "bare.pth")
    model = build_sam(golden.TINY)
    load_checkpoint(model, tmp_path / "bare.pth")
    assert_golden(model, weights)


def test_safetensors_round_trip(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    first, second = golden.tiny_model(), build_sam(golden.TINY)
    save_weights(first, tmp_path / "w.safetensors", metadata={"why": "test"})
    load_checkpoint(second, tmp_path / "w.safetensors")
    assert_golden(second, weights)
    assert not list(tmp_path.glob("*.part"))


def test_half_precision_file_fills_a_float32_network(tmp_path: Path) -> None:
    save_weights(golden.tiny_model(), tmp_path / "w.safetensors", dtype=torch.float16)
    model = build_sam(golden.TINY)
    load_checkpoint(model, tmp_path / "w.safetensors")
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_vanilla_1024_file_is_resampled_as_the_original_does(tmp_path: Path) -> None:
    arrays = golden.load("samed2d_interp.npz")
    vanilla = {n: torch.tensor(v) for n, v in golden.below(arrays, "vanilla.").items()}
    after = golden.below(arrays, "after.")
    torch.save(vanilla, tmp_path / "sam.pth")
    model = build_sam(VANILLA)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_checkpoint(model, tmp_path / "sam.pth")
    state = model.state_dict()
    assert set(report.resampled) == set(after)
    assert len(after) == 9
    for name, reference in after.items():
        assert golden.relative_error(state[name], reference) <= 1e-6, name
    for name in set(vanilla) - set(after):
        assert torch.equal(state[name], vanilla[name]), name
    assert set(report.missing) == {name for name in state if ".Adapter." in name}
    assert all(torch.equal(state[name], before[name]) for name in report.missing)


def refuse(model: torch.nn.Module, path: Path) -> str:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, path)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    return caught.value.message


def test_a_missing_tensor_is_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    del weights["mask_decoder.iou_token.weight"]
    torch.save(weights, tmp_path / "w.pth")
    assert "mask_decoder.iou_token.weight" in refuse(build_sam(golden.TINY), tmp_path / "w.pth")


def test_a_file_with_some_adapters_only_is_refused(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    name = "image_encoder.blocks.2.Adapter.norm.bias"
    del weights[name]
    torch.save(weights, tmp_path / "w.pth")
    assert name in refuse(build_sam(golden.TINY), tmp_path / "w.pth")


def test_an_unknown_tensor_is_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights["image_encoder.blocks.0.lora.weight"] = torch.zeros(2)
    save_file(weights, tmp_path / "w.safetensors")
    message = refuse(build_sam(golden.TINY), tmp_path / "w.safetensors")
    assert "image_encoder.blocks.0.lora.weight (unknown)" in message


def test_a_wrong_shape_is_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    weights["mask_decoder.mask_tokens.weight"] = torch.zeros(7, 32)
    torch.save({"model": weights}, tmp_path / "w.pth")
    message = refuse(build_sam(golden.TINY), tmp_path / "w.pth")
    assert "mask_decoder.mask_tokens.weight (7, 32), not (4, 32)" in message


class Harmful:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"model": Harmful()}, file)
    assert "cannot be read safely" in refuse(build_sam(golden.TINY), tmp_path / "evil.pth")
    torch.save({"model": {}, "x": Harmful()}, tmp_path / "evil2.pth")
    assert "cannot be read safely" in refuse(build_sam(golden.TINY), tmp_path / "evil2.pth")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    save_weights(golden.tiny_model(), tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    if name.endswith(".pth"):
        content = (golden.FOLDER / "samed2d_tiny_published_layout.pth").read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert "cannot be read safely" in refuse(build_sam(golden.TINY), tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"a": 1}}, {"epoch": 3}])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "state dict" in refuse(build_sam(golden.TINY), tmp_path / "w.pth")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "get_weights.py" in refuse(build_sam(golden.TINY), tmp_path / "none.pth")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_layout_of_the_released_3d_file(tmp_path: Path) -> None:
    model = build_sam3d(TINY3D)
    parameters = [torch.nn.Parameter(torch.zeros(2))]
    optimiser = torch.optim.AdamW(parameters)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [120, 180])
    content = {
        "epoch": 3,
        "model_state_dict": tiny_weights(),
        "optimizer_state_dict": optimiser.state_dict(),
        "lr_scheduler_state_dict": scheduler.state_dict(),
        "losses": [0.5],
        "dices": [0.4],
        "best_loss": float("inf"),
        "best_dice": 0.4,
        "args": Namespace(task_name="union_train", device=torch.device("cpu"), gpu_ids=[0, 1]),
        "used_datas": ["data/liver"],
    }
    torch.save(content, tmp_path / "turbo.pth")
    with pytest.raises(pickle.UnpicklingError, match="Namespace"):
        torch.load(tmp_path / "turbo.pth", weights_only=True)
    report = load_checkpoint(model, tmp_path / "turbo.pth")
    assert_golden(model, tiny_weights())
    assert "args" in report.leftover and "model_state_dict" not in report.leftover
