"""Medical SAM Adapter as a model of the server: slabs of slices."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from lib.imaging.volume import ReadLimits
from lib.options import AppOptions
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.served_model import ServedModel
from lib.server.volumes import VolumeStore
from tests.support.studies import PLAIN

SLAB = 3


def test_slices_of_a_slab_are_encoded_at_the_first_click(
    random_weights: Path, small_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = AppOptions(device="cpu", backend="torch", zoom="off", encode_ahead="off")
    model = ServedModel(NetworkChoice("medsa_t", random_weights, SLAB), options)
    spec = ModelSpec("medsa", "click", "Click.", 2, ("medsa_t",), SLAB)
    task = Samed2dInferTask(spec, options, model, VolumeStore(1 << 30, ReadLimits()))
    found = []
    for k in (1, 0, SLAB):
        _, facts = task({"image": str(small_study / f"{PLAIN}.nii.gz"), "foreground": [[5, 6, k]]})
        found.append(facts["encoded_before"])
        assert facts["backend"] == f"torch fp32, slabs of {SLAB}"
    assert found == [False, True, False]
