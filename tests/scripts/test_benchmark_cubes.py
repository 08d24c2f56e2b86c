"""The encoder's benchmark with a network of volumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lib.networks.architectures3d import ARCHITECTURES3D
from scripts import benchmark as script
from scripts._benchmark import cubes
from scripts._benchmark.errors import BenchmarkError
from tests.support.tiny3d import SMALL, small_model

MODELING = {
    "__init__.py": "from .image_encoder3D import ImageEncoderViT3D\n",
    "image_encoder3D.py": """
from dataclasses import replace
from lib.networks.encoder3d import ImageEncoder3d
from tests.support.tiny3d import SMALL

def ImageEncoderViT3D(*, embed_dim, depth, num_heads, img_size, out_chans, **others):
    return ImageEncoder3d(replace(SMALL, embed_dim=embed_dim, depth=depth, num_heads=num_heads,
                                  image_size=img_size, prompt_dim=out_chans))
""",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout" / "segment_anything" / "modeling"
    folder.mkdir(parents=True)
    for name, text in MODELING.items():
        (folder / name).write_text(text)
    return tmp_path / "checkout"


def test_the_original_computes_what_our_network_computes(checkout: Path) -> None:
    model = small_model()
    (case,) = cubes.make_cube_cases(model, 1, seed=0)
    found = cubes.OriginalCubeEncoder(checkout, model).encode(case.image)
    torch.testing.assert_close(found, model.encode(case.image).detach())


def test_another_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no checkout of the original SAM-Med3D"):
        cubes.OriginalCubeEncoder(tmp_path, small_model())


@torch.no_grad()
def test_what_differs_is_measured() -> None:
    model = small_model()
    cases = cubes.make_cube_cases(model, 2, seed=0)
    assert not torch.equal(cases[0].image, cases[1].image)
    embeddings = [model.encode(case.image) for case in cases]
    equal = cubes.compare_cubes(model, cases, embeddings, embeddings)
    assert equal.embedding_max_abs == equal.logits_max_abs == 0 and equal.dice_minimum == 1
    moved = cubes.compare_cubes(model, cases, embeddings, [e + 0.5 for e in embeddings])
    assert moved.embedding_max_abs == pytest.approx(0.5, rel=1e-3) and moved.logits_max_abs > 0


def test_the_report(checkout: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(ARCHITECTURES3D, "sammed3d_t", SMALL)
    monkeypatch.setattr("scripts._benchmark.network.installed_weights", lambda name: None)
    file = tmp_path / "report.json"
    run = ["encoder", "--architecture", "sammed3d_t", "--rounds", "1", "--images", "1"]
    run += ["--variants", "torch:fp32,openvino:int8", "--upstream", str(checkout)]
    assert script.main([*run, "--json", str(file)]) == script.DONE
    report = json.loads(file.read_text())
    ours, eight_bit = report["variants"]
    assert ours["agreement"]["embedding_max_abs"] <= 1e-4
    assert report["baseline"]["memory"] is None or report["baseline"]["memory"]["peak"] > 0
    assert "precision int8 for small3d" in eight_bit["unavailable"]
    assert "original torch fp32" in capsys.readouterr().out
