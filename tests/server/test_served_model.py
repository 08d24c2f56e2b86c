import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.errors import CheckpointError
from lib.options import AppOptions
from lib.server import served_model
from lib.server.models import NetworkChoice
from lib.server.served_model import ServedModel

CPU = AppOptions(device="cpu", backend="torch")


def test_nothing_is_loaded_before_it_is_needed(tmp_path):
    # The file does not even exist; only its use tells.
    model = ServedModel(NetworkChoice("samed2d_t", tmp_path / "gone.safetensors"), CPU)
    assert "samed2d_t" in model.summary
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        model.segmenter()


def test_simultaneous_first_calls_load_once(random_weights, monkeypatch):
    builds = []
    together = threading.Barrier(4)
    build = served_model.build_model

    def counted(*args):
        builds.append(args)
        return build(*args)

    monkeypatch.setattr(served_model, "build_model", counted)
    model = ServedModel(NetworkChoice("samed2d_t", random_weights), CPU)

    def first_call(_):
        together.wait()
        return model.segmenter()

    with ThreadPoolExecutor(4) as pool:
        segmenters = set(pool.map(first_call, range(4)))
    assert len(builds) == 1
    assert len(segmenters) == 1


def test_the_version_names_architecture_and_content(random_weights, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(random_weights.read_bytes())
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(random_weights.read_bytes() + b"x")
    versions = [
        ServedModel(NetworkChoice("samed2d_t", path), CPU).version
        for path in (random_weights, copy, changed)
    ]
    assert versions[0].startswith("samed2d_t-")
    assert versions[0] == versions[1] != versions[2]


def test_untrained_weights_are_not_passed_over_in_silence():
    model = ServedModel(NetworkChoice("samed2d_t", None), CPU)
    assert model.version == "samed2d_t-untrained"
    assert "WITHOUT trained weights" in model.summary
