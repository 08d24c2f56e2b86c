"""Exported encoders on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch

from lib.networks import prepared
from lib.networks.openvino_encoder import OpenVinoEncoder
from lib.networks.prepared import KEPT, discard, prepare, prepared_path
from tests.support import golden


def test_a_prepared_encoder_is_made_once_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = golden.tiny_model()
    path = prepare(model, "tiny-1", "fp32", tmp_path)
    assert path == prepared_path(tmp_path, "tiny-1", "bf16")
    assert path != prepared_path(tmp_path, "tiny-1", "int8")
    assert path != prepared_path(tmp_path, "tiny-2", "fp32")
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    images = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        expected = model.encode(images)
    encoded = OpenVinoEncoder(path, "fp32").encode(images)
    assert golden.relative_error(encoded, expected) <= 1e-4
    monkeypatch.setattr(prepared, "export_encoder", None)
    assert prepare(model, "tiny-1", "bf16", tmp_path) == path


def test_an_interrupted_preparation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(prepared, "export_encoder", lambda model: None)
    monkeypatch.setattr(prepared, "save_exported", full)
    with pytest.raises(OSError, match="disk full"):
        prepare(golden.tiny_model(), "tiny-1", "fp32", tmp_path)
    assert list((tmp_path / "encoders").iterdir()) == []


def test_old_versions_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_: object, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("x")

    monkeypatch.setattr(prepared, "export_encoder", lambda model: None)
    monkeypatch.setattr(prepared, "save_exported", save)
    model = golden.tiny_model()
    for number in range(KEPT + 2):
        path = prepare(model, f"tiny-{number}", "fp32", tmp_path)
        os.utime(path.parent, (number, number))
    kept = sorted(entry.name[:6] for entry in (tmp_path / "encoders").iterdir())
    assert kept == [f"tiny-{number}" for number in range(2, KEPT + 2)]
    discard(path)
    assert not path.parent.exists()
