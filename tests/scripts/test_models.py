"""scripts/models.py on a registry with two versions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib.networks.checkpoint import read_tensors, sha256_of
from lib.networks.model_card import card_of, card_path, write_card
from lib.training.registry import Registry
from scripts import models
from tests.support.cards import make_card, write_card_for
from tests.support.versions import publish_inverted

Run = Callable[..., int]


@pytest.fixture
def registry(random_weights: Path, tmp_path: Path) -> Registry:
    """v0001 with another decoder, v0002 with another encoder too, which serves."""
    for encoder in (False, True):
        publish_inverted(tmp_path / "registry", random_weights, encoder)
    return Registry(tmp_path / "registry", "samed2d_t", random_weights)


@pytest.fixture
def run(random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command on that registry."""
    for name in ("SAMED2D_REGISTRY", "SAMED2D_ARCHITECTURE", "SAMED2D_CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)
    where = ["--registry", str(tmp_path / "registry"), "--architecture", "samed2d_t"]
    where += ["--checkpoint", str(random_weights)]
    return lambda command, *rest: models.main([command, *map(str, rest), *where])


def test_list(run: Run, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    base, first, second = capsys.readouterr().out.splitlines()
    assert base.startswith("  base") and registry.base_version in base
    assert first.startswith("  v0001") and "1: 0.500 -> 0.750" in first and "5 images" in first
    assert second.startswith("* v0002")


def test_list_for_programs(
    run: Run, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["base"] == registry.base_version and content["serving"] == "v0002"
    first, second = content["versions"]
    assert (first["name"], first["serving"]) == ("v0001", False)
    assert second["serving"] is True
    assert second["model_version"] == registry.versions()[1].model_version
    # Who was learned from is nobody's business.
    assert first["patients_seen"] == 2 and "seen" not in first


def test_an_empty_registry_lists_the_base(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("* base")


def test_show(run: Run, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "v0002"
    assert run("show", "v0001") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "v0001" and shown["recipe"] == "default"
    assert run("show", "base") == 0
    assert registry.base_version in capsys.readouterr().out


def test_diff(run: Run, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("diff", "v0001", "v0002") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert (
        " 1 of " in lines["image_encoder"] and "image_encoder.pos_embed" in lines["image_encoder"]
    )
    assert " 0 of " in lines["mask_decoder"] and "0.00%" in lines["mask_decoder"]
    assert "0.500 -> 0.750" in lines["v0001"]


def test_rollback(run: Run, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rollback") == 0
    first = registry.versions()[0]
    assert registry.serving() == first
    assert f"serving now: v0001 ({first.model_version})" in capsys.readouterr().out
    assert run("rollback", "base") == 0
    assert registry.serving() is None
    assert f"serving now: base ({registry.base_version})" in capsys.readouterr().out
    assert run("rollback") == 1
    assert "nothing served" in capsys.readouterr().err
    assert run("rollback", "v0002") == 0
    assert registry.serving() == registry.versions()[1]


def test_export(
    run: Run, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "whole.safetensors"
    assert run("export", "v0002", path) == 0
    assert "MB" in capsys.readouterr().out
    tensors, _ = read_tensors(path)
    changed = registry.find("v0002").tensors()
    assert changed.items() and all(torch.equal(tensors[n], t) for n, t in changed.items())
    assert run("export", "v0001", path) == 1
    assert "a file already" in capsys.readouterr().err
    assert run("export", "v0001", tmp_path / "whole.pth") == 2
    assert ".safetensors" in capsys.readouterr().err


def test_prune(run: Run, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prune", "--keep", 2) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert run("prune", "--keep", 1) == 0
    assert "removed: v0001" in capsys.readouterr().out
    assert [version.name for version in registry.versions()] == ["v0002"]


@pytest.mark.parametrize(
    "arguments", [("show", "v0009"), ("diff", "base", "v0009"), ("rollback", "v0009")]
)
def test_a_version_that_is_not_there(
    run: Run, registry: Registry, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 1
    said = capsys.readouterr().err
    assert "'v0009'" in said and "base, v0001, v0002" in said


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("prune",), ("prune", "--keep", "0"), ("prune", "--keep", "x"), ("diff",)],
)
def test_wrong_use(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        models.main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_missing_base_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--architecture", "samed2d_t", "--checkpoint", str(tmp_path / "gone.pth")]
    assert models.main(["list", *arguments]) == 2
    assert "gone.pth" in capsys.readouterr().err


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    """With the shipped network and a registry named by the environment, from another folder."""
    done = subprocess.run(
        [sys.executable, str(Path(models.__file__).resolve()), "list"],
        env={"PATH": "/usr/bin:/bin", "SAMED2D_REGISTRY": str(tmp_path / "mine")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("* base   samed2d_") and done.stderr == ""


def metrics_of(path: Path, weights_sha256: str, box: float = 0.8) -> Path:
    """A metrics.json as scripts/evaluate.py writes it."""
    part = {"n_masks": 3, "n_patients": 2, "noc85": None, "noc90": None}
    for measure in ("dice", "iou", "nsd"):
        part |= {measure: {"box": box}, f"{measure}_interval": {"box": [0.7, 0.9]}}
    settings = [{"zoom": "off", "precision": "fp32"}]
    facts = {"data": "devset", "protocol": "noc", "code_version": "abc", "settings": settings}
    own = {**facts, "weights_sha256": weights_sha256, "per_modality": {"CT": part}}
    path.write_text(json.dumps({**part, **own, "baseline": part}))
    return path


@pytest.fixture
def carded(random_weights: Path, tmp_path: Path) -> Path:
    """Weights of their own, with a card."""
    path = tmp_path / "weights" / "samed2d_t.safetensors"
    path.parent.mkdir()
    path.write_bytes(random_weights.read_bytes())
    write_card_for(path)
    return path


def command(weights: Path, *rest: object) -> int:
    where = ["--architecture", "samed2d_t", "--checkpoint", str(weights)]
    return models.main([*map(str, rest), *where, "--registry", str(weights.parent / "registry")])


def test_show_prints_the_card(carded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("base", "samed2d_t"):
        assert command(carded, "show", name) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("base: samed2d_t-")
        assert "## Where it fails" in printed
    card_path(carded).unlink()
    assert command(carded, "show", "samed2d_t") == 0
    assert "no model card" in capsys.readouterr().out


def test_figures_get_into_the_card(
    carded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = metrics_of(tmp_path / "metrics.json", sha256_of(carded), 0.85)
    assert command(carded, "card", metrics, "--note", "held out") == 0
    assert "1 measurements" in capsys.readouterr().out, "it replaces that of the same data"
    card = card_of(carded)
    assert card is not None
    (found,) = card.measurements
    assert (found.dice[0].mean, found.note) == (0.85, "held out")
    assert card.weights_bytes == carded.stat().st_size
    assert card.parameters > 1_000_000


def test_figures_of_other_weights_are_refused(
    carded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = card_of(carded)
    assert command(carded, "card", metrics_of(tmp_path / "metrics.json", "0" * 64)) == 2
    assert "measured with weights 000000000000" in capsys.readouterr().err
    assert card_of(carded) == before


def test_new_weights_take_the_old_figures_out(
    carded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = replace(make_card("0" * 64), parameters=1)
    write_card(card, card_path(carded))
    assert command(carded, "card") == 0
    assert "earlier figures were taken out" in capsys.readouterr().err
    found = card_of(carded)
    assert found is not None
    assert found.measurements == () and found.parameters > 1_000_000


def test_no_card_to_write_into(
    carded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card_path(carded).unlink()
    assert command(carded, "card", tmp_path / "metrics.json") == 1
    assert "no card" in capsys.readouterr().err


def test_a_network_on_the_weights_of_its_base_leaves_their_card_alone(
    carded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = card_of(carded)
    arguments = ["card", "--architecture", "medsa_t", "--checkpoint", str(carded)]
    assert models.main(arguments) == 2
    assert "samed2d_t" in capsys.readouterr().err
    assert card_of(carded) == before
