"""Building a network by name, with and without weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib.errors import CheckpointError, OptionError
from lib.networks import (
    ARCHITECTURES,
    build_model,
    build_model3d,
    build_sam,
    check_architecture,
    installed_weights,
)
from lib.networks.checkpoint import save_weights
from lib.networks.weights import is_ready_to_click, version_of
from tests.support import golden


def test_installed_weights_are_found_by_name(tmp_path: Path) -> None:
    assert installed_weights("samed2d_t", tmp_path) is None
    (tmp_path / "samed2d_t.safetensors").touch()
    assert installed_weights("samed2d_t", tmp_path) == tmp_path / "samed2d_t.safetensors"


def test_the_compact_model_ships_with_weights() -> None:
    path = installed_weights("samed2d_t")
    assert path is not None
    assert path.stat().st_size <= 30 * 2**20


def test_shipped_weights_are_taken_by_default() -> None:
    torch.manual_seed(0)
    first = build_model("samed2d_t").state_dict()
    torch.manual_seed(1)
    second = build_model("samed2d_t").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_given_checkpoint_wins(tmp_path: Path) -> None:
    torch.manual_seed(5)
    random_model = build_sam(ARCHITECTURES["samed2d_t"])
    save_weights(random_model, tmp_path / "w.safetensors")
    model = build_model("samed2d_t", tmp_path / "w.safetensors")
    assert torch.equal(
        model.mask_decoder.iou_token.weight, random_model.mask_decoder.iou_token.weight
    )
    assert not model.training


def test_without_weights_it_warns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.networks.weights.installed_weights", lambda name: None)
    build_model("samed2d_t")
    assert "random" in caplog.text


@pytest.mark.parametrize(
    ("metadata", "ready"),
    [({}, True), ({"adapters": "trained"}, True), ({"adapters": "neutral"}, False)],
)
def test_weights_without_trained_adapters_are_not_ready(
    metadata: dict[str, str], ready: bool, tmp_path: Path
) -> None:
    save_weights(golden.tiny_model(), tmp_path / "w.safetensors", metadata=metadata)
    assert is_ready_to_click(tmp_path / "w.safetensors") is ready


def test_readiness_of_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x01")
    with pytest.raises(CheckpointError, match="header"):
        is_ready_to_click(tmp_path / "w.safetensors")


def test_weight_files_can_be_read_by_others(tmp_path: Path) -> None:
    save_weights(golden.tiny_model(), tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o044 == 0o044


def test_networks_for_volumes_are_built_by_name(tmp_path: Path) -> None:
    first = build_model3d("sammed3d_t")
    save_weights(first, tmp_path / "w.safetensors")
    second = build_model3d("sammed3d_t", tmp_path / "w.safetensors")
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
    with pytest.raises(OptionError, match=r"samed2d_t.*sammed3d_b"):
        build_model3d("samed2d_t")


def test_every_architecture_is_known_by_name() -> None:
    check_architecture("samed2d_t")
    check_architecture("sammed3d_b")
    with pytest.raises(OptionError, match=r"sammed4d.*samed2d_b.*sammed3d_b"):
        check_architecture("sammed4d")


def test_a_network_without_a_file_takes_that_of_its_base(tmp_path: Path) -> None:
    assert installed_weights("medsa_t", tmp_path) is None
    (tmp_path / "samed2d_t.safetensors").touch()
    assert installed_weights("medsa_t", tmp_path) == tmp_path / "samed2d_t.safetensors"
    (tmp_path / "medsa_t.safetensors").touch()
    assert installed_weights("medsa_t", tmp_path) == tmp_path / "medsa_t.safetensors"


@torch.inference_mode()
def test_before_training_it_is_its_base() -> None:
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    base, adapted = build_model("samed2d_t"), build_model("medsa_t")
    assert torch.equal(base.encode(images), adapted.encode(images))
    torch.manual_seed(9)
    again = build_model("medsa_t").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in adapted.state_dict().items())
    assert version_of("medsa_t", None) == "medsa_t-untrained"
    digest = version_of("samed2d_t", installed_weights("samed2d_t")).removeprefix("samed2d_t-")
    assert version_of("medsa_t", installed_weights("medsa_t")) == f"medsa_t-{digest}"
