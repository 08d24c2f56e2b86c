"""The network behind the tasks: loaded once, and exchanged at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.errors import CheckpointError
from lib.inference.predictor import Predictor
from lib.inference.view import SliceView
from lib.networks import build_model
from lib.options import AppOptions
from lib.prompts.prompt import Prompt
from lib.server import live_model
from lib.server.live_model import LiveModel
from lib.server.models import NetworkChoice
from lib.server.served_model import ServedModel
from lib.training.registry import Registry
from tests.support.studies import PLAIN, SHAPES, ct_like
from tests.support.versions import FACTS, inverted, publish_inverted

CPU = AppOptions(device="cpu", backend="torch", embedding_disk_mb=0)
CLICK = Prompt(points=((20, 20),), labels=(1,))


@pytest.fixture
def registry(random_weights: Path, tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", "samed2d_t", random_weights)


@pytest.fixture
def model(random_weights: Path, tmp_path: Path) -> ServedModel:
    return served(random_weights, tmp_path / "registry")


def served(weights: Path, registry: Path, options: AppOptions = CPU) -> ServedModel:
    return ServedModel(NetworkChoice("samed2d_t", weights), replace(options, registry=registry))


def view() -> SliceView:
    return SliceView(ct_like(SHAPES[PLAIN], 1)[:, :, 4].T)


def mask(live: LiveModel) -> np.ndarray:
    return live.segmenter.segment(view(), CLICK).prediction.mask


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_nothing_is_loaded_before_it_is_needed(tmp_path):
    # The file does not even exist; only its use tells.
    model = served(tmp_path / "gone.safetensors", tmp_path / "registry")
    assert "samed2d_t" in model.summary
    assert model.loaded is None and model.encoder_status == "not loaded yet"
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        model.segmenter()


def test_simultaneous_first_calls_load_once(model, monkeypatch):
    builds = []
    together = threading.Barrier(4)
    build = live_model.build_model

    def counted(*args):
        builds.append(args)
        return build(*args)

    monkeypatch.setattr(live_model, "build_model", counted)

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
        served(path, tmp_path / "registry").version for path in (random_weights, copy, changed)
    ]
    assert versions[0].startswith("samed2d_t-")
    assert versions[0] == versions[1] != versions[2]


def test_untrained_weights_are_not_passed_over_in_silence():
    model = ServedModel(NetworkChoice("samed2d_t", None), CPU)
    assert model.version == "samed2d_t-untrained"
    assert "WITHOUT trained weights" in model.summary
    model.live()
    assert not model.refresh()


def test_what_was_published_before_the_start_serves(random_weights, registry, model):
    version = publish_inverted(registry.folder.parent, random_weights)
    assert model.version == version.model_version
    live = model.live()
    assert live.version == version and live.model_version == version.model_version
    assert live.version_facts()["name"] == "v0001"
    assert live.version_facts()["metrics"] == FACTS.metrics
    assert model.problem is None


def test_a_published_decoder_takes_over_and_the_embeddings_stay(random_weights, registry, model):
    assert not model.refresh()  # not loaded: nothing to exchange
    before = model.live()
    first = mask(before)
    assert before.version_facts() is None
    version = publish_inverted(registry.folder.parent, random_weights)
    assert model.refresh() and not model.refresh()
    after = model.live()
    assert after.model_version == version.model_version != before.model_version
    result = after.segmenter.segment(view(), CLICK)
    assert result.cached  # of the version before
    assert np.array_equal(result.prediction.mask, ~first)
    assert after.encoder is before.encoder
    # One copy of the encoder in memory.
    assert after.segmenter.decoder.model.image_encoder is (
        before.segmenter.decoder.model.image_encoder
    )
    # Whoever still holds the version before gets its answers.
    assert np.array_equal(mask(before), first)
    registry.roll_back()
    assert model.refresh()
    assert model.version == before.model_version
    assert np.array_equal(mask(model.live()), first)


def test_another_encoder_takes_over_with_its_own_embeddings(random_weights, registry, model):
    before = model.live()
    mask(before)
    publish_inverted(registry.folder.parent, random_weights, encoder=True)
    assert model.refresh()
    after = model.live()
    result = after.segmenter.segment(view(), CLICK)
    assert not result.cached
    fresh = served(random_weights, registry.folder.parent).live()
    assert np.array_equal(
        result.prediction.logits, fresh.segmenter.segment(view(), CLICK).prediction.logits
    )
    assert before.ahead is not None and not before.ahead._thread.is_alive()
    assert after.ahead is not None and after.ahead._thread.is_alive()
    # The one thread for all arithmetic stays, and with it the order of the requests.
    assert after.segmenter.worker is before.segmenter.worker


def test_stages_of_a_chain_are_not_taken_from_another_version(random_weights, registry, model):
    clicks = Prompt(points=((20, 20), (10, 40), (30, 8)), labels=(1, 1, 0))

    def logits(live: LiveModel) -> np.ndarray:
        return live.segmenter.segment(view(), clicks).prediction.logits

    logits(model.live())
    publish_inverted(registry.folder.parent, random_weights)
    model.refresh()
    alone = served(random_weights, registry.folder.parent).live()
    assert np.array_equal(logits(model.live()), logits(alone))


def test_a_version_that_cannot_be_loaded_leaves_the_old_one(
    random_weights, registry, model, monkeypatch, caplog
):
    before = model.live()
    publish_inverted(registry.folder.parent, random_weights)

    def broken(*_):
        raise CheckpointError(got="a tensor too many")

    with monkeypatch.context() as patch:
        patch.setattr(live_model, "apply_version", broken)
        assert not model.refresh()
    assert model.live() is before
    assert "a tensor too many" in model.problem and "v0001" in model.problem
    assert model.problem in caplog.text
    assert not model.refresh()  # tried once, not every second
    registry.roll_back("v0001")  # asked for again
    assert model.refresh() and model.problem is None


def test_a_damaged_version_is_passed_over_and_that_is_told(random_weights, registry, model):
    first = publish_inverted(registry.folder.parent, random_weights)
    model.live()
    second = publish_inverted(registry.folder.parent, random_weights, encoder=True)
    damage(second.weights)
    assert not model.refresh()
    assert model.version == first.model_version
    assert model.problem == "version v0002 is damaged, v0001 answers instead"


def test_a_version_damaged_before_the_start_is_told(random_weights, registry, model):
    version = publish_inverted(registry.folder.parent, random_weights)
    damage(version.weights)
    assert model.live().version is None
    assert model.problem == "version v0001 is damaged, base answers instead"


def test_a_version_that_does_not_fit_at_the_start_leaves_the_base(
    random_weights, registry, model, monkeypatch
):
    publish_inverted(registry.folder.parent, random_weights)

    def broken(*_):
        raise CheckpointError(got="a tensor too many")

    monkeypatch.setattr(live_model, "apply_version", broken)
    assert model.live().version is None
    assert "a tensor too many" in model.problem


def test_a_server_follows_by_itself(random_weights, registry, model, monkeypatch):
    monkeypatch.setattr("lib.server.served_model.POLL_SECONDS", 0.01)
    changed = threading.Event()
    refresh = model.refresh

    def watched() -> bool:
        done = refresh()
        if done:
            changed.set()
        return done

    monkeypatch.setattr(model, "refresh", watched)
    model.warm_up()
    model.live()
    version = publish_inverted(registry.folder.parent, random_weights)
    assert changed.wait(60)
    assert model.version == version.model_version
    model._end.set()


def test_exchanges_amid_requests_never_mix_versions(random_weights, registry, model):
    """Each answer is the one of the version that its live model names."""
    expected = {model.live().model_version: mask(model.live())}
    version = publish_inverted(registry.folder.parent, random_weights)
    expected[version.model_version] = ~expected[model.live().model_version]
    end, seen = threading.Event(), []

    def ask() -> None:
        while not end.is_set():
            live = model.live()
            assert np.array_equal(mask(live), expected[live.model_version])
            seen.append(live.model_version)

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        try:
            for name in ("v0001", "base", "v0001", "base"):
                registry.roll_back(name)
                model.refresh()
                seen.clear()
                while model.version not in seen and not any(task.done() for task in asking):
                    time.sleep(0.01)
        finally:
            end.set()
        for task in asking:
            task.result()


def test_inverting_inverts(random_weights):
    """The helper of these tests does what they take it for."""
    plain = Predictor(build_model("samed2d_t", random_weights))
    other = Predictor(inverted(build_model("samed2d_t", random_weights)))
    for predictor in (plain, other):
        predictor.set_image(ct_like(SHAPES[PLAIN], 1)[:, :, 4].T)
    first, second = (p.predict_batch([CLICK])[0] for p in (plain, other))
    assert 0 < first.mask.mean() < 1
    assert np.array_equal(first.mask, ~second.mask)
