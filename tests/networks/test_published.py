"""Installation of published weights, with networks small enough to make here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lib.errors import CheckpointError
from lib.networks import (
    ARCHITECTURES,
    ARCHITECTURES3D,
    AdapterSam,
    build_sam,
    build_sam3d,
    load_checkpoint,
)
from lib.networks.checkpoint import sha256_of
from lib.networks.published import PUBLISHED, install_weights, neutralise_adapters, reset_adapters
from tests.support import golden
from tests.support.small_sam3d import SMALL3D


def write_published_layout(path: Path) -> dict[str, torch.Tensor]:
    """A file as SAM-Med2D publishes it: the model and its optimiser."""
    model = build_sam(golden.TINY)
    optimiser = torch.optim.Adam(model.mask_decoder.parameters(), lr=1e-4)
    torch.save({"model": model.state_dict(), "optimizer": optimiser}, path)
    return model.state_dict()


def write_vanilla(path: Path) -> AdapterSam:
    """A SAM file for images of four times the size, without adapters."""
    model = build_sam(replace(golden.TINY, image_size=1024))
    state = {n: t for n, t in model.state_dict().items() if ".Adapter." not in n}
    torch.save(state, path)
    return model


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def test_catalogue_is_complete() -> None:
    for name, weights in PUBLISHED.items():
        assert weights.name == name
        assert weights.architecture in {*ARCHITECTURES, *ARCHITECTURES3D}
        assert weights.url.startswith("https://")
        if weights.by_script:
            assert weights.url.endswith("/" + weights.filename)
            assert weights.size is not None
            assert weights.sha256 is not None
            assert len(bytes.fromhex(weights.sha256)) == 32


def test_published_layout(tmp_path: Path) -> None:
    source = tmp_path / "sam-med2d_b.pth"
    state = write_published_layout(source)
    installed = install_weights(source, golden.TINY, tmp_path / "weights")
    assert installed.path == tmp_path / "weights" / "tiny.safetensors"
    assert installed.report.leftover == ("optimizer",)
    assert not installed.neutral_adapters
    again = build_sam(golden.TINY)
    load_checkpoint(again, installed.path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert metadata_of(installed.path) == {
        "architecture": "tiny",
        "source": "sam-med2d_b.pth",
        "source_sha256": sha256_of(source),
        "adapters": "trained",
    }


def test_layout_of_a_network_for_volumes(tmp_path: Path) -> None:
    source = tmp_path / "sam_med3d_turbo.pth"
    state = build_sam3d(SMALL3D).state_dict()
    torch.save({"model_state_dict": state, "best_dice": 0.4}, source)
    installed = install_weights(source, SMALL3D, tmp_path / "weights")
    assert installed.path == tmp_path / "weights" / "small3d.safetensors"
    assert not installed.neutral_adapters and metadata_of(installed.path)["adapters"] == "trained"
    again = build_sam3d(SMALL3D)
    load_checkpoint(again, installed.path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    with pytest.raises(CheckpointError, match="does not fit"):
        install_weights(source, golden.TINY, tmp_path / "weights")


def test_vanilla_file_computes_what_sam_does(tmp_path: Path) -> None:
    source = tmp_path / "sam_vit.pth"
    write_vanilla(source)
    installed = install_weights(source, golden.TINY, tmp_path)
    assert installed.neutral_adapters
    assert installed.report.resampled
    assert all(".Adapter." in name for name in installed.report.missing)
    assert metadata_of(installed.path)["adapters"] == "neutral"

    model = build_sam(golden.TINY)
    load_checkpoint(model, installed.path)
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        with_adapters = model.encode(images)
        for block in model.image_encoder.blocks:
            block.use_adapter = False
        assert torch.equal(with_adapters, model.encode(images))


def test_vanilla_file_gives_all_its_tensors_to_a_network_of_medsa(tmp_path: Path) -> None:
    source = tmp_path / "sam_vit.pth"
    write_vanilla(source)
    medsa = replace(golden.TINY, name="medsa", adapters=("medsa",))
    installed = install_weights(source, medsa, tmp_path)
    assert installed.neutral_adapters
    assert len(installed.report.loaded) + len(installed.report.resampled) == len(
        torch.load(source, weights_only=True)
    )
    assert all("_Adapter." in name for name in installed.report.missing)

    plain, model = build_sam(golden.TINY), build_sam(medsa)
    load_checkpoint(plain, source)
    load_checkpoint(model, installed.path)
    for block in plain.image_encoder.blocks:
        block.use_adapter = False
    images = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(model.encode(images), plain.encode(images))


def test_adapters_of_medsa_are_reset_and_its_base_is_left_alone() -> None:
    model = build_sam(replace(golden.TINY, adapters=("samed2d", "medsa")))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reset_adapters(model)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {n for n in before if "_Adapter." in n}
    neutralise_adapters(model)
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {n for n in before if "_Adapter.D_fc1" in n}


def test_neutral_adapters_can_be_trained() -> None:
    model = build_sam(golden.TINY)
    neutralise_adapters(model)
    model.encode(torch.rand(1, 3, 256, 256)).square().sum().backward()
    for block in model.image_encoder.blocks:
        assert block.Adapter.norm.weight.grad.abs().max() > 0


def test_the_same_file_gives_the_same_weights(tmp_path: Path) -> None:
    write_vanilla(tmp_path / "sam.pth")
    state = torch.random.get_rng_state()
    first = install_weights(tmp_path / "sam.pth", golden.TINY, tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    second = install_weights(tmp_path / "sam.pth", golden.TINY, tmp_path / "b")
    one, other = load_file(first.path), load_file(second.path)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_wrong_hash(tmp_path: Path) -> None:
    write_published_layout(tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="SHA-256"):
        install_weights(tmp_path / "own.pth", golden.TINY, tmp_path / "weights", sha256="0" * 64)
    assert not (tmp_path / "weights").exists()


def test_hash_in_capitals(tmp_path: Path) -> None:
    source = tmp_path / "own.pth"
    write_published_layout(source)
    install_weights(source, golden.TINY, tmp_path, sha256=sha256_of(source).upper())


def test_refused_file_leaves_the_installed_one(tmp_path: Path) -> None:
    write_published_layout(tmp_path / "good.pth")
    path = install_weights(tmp_path / "good.pth", golden.TINY, tmp_path).path
    before = sha256_of(path)
    (tmp_path / "bad.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:-1000])
    with pytest.raises(CheckpointError):
        install_weights(tmp_path / "bad.pth", golden.TINY, tmp_path)
    assert sha256_of(path) == before
    assert not list(tmp_path.glob("*.part"))


def test_file_for_another_network(tmp_path: Path) -> None:
    write_published_layout(tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="does not fit"):
        install_weights(tmp_path / "own.pth", replace(golden.TINY, depth=3), tmp_path)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weight file"):
        install_weights(tmp_path / "absent.pth", golden.TINY, tmp_path)
