"""The faster encoder that comes after the first one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib.errors import UnavailableError
from lib.inference.worker import PriorityWorker
from lib.networks import build_model
from lib.networks.backends import TorchEncoder
from lib.networks.plan import EncoderKind, EncoderPlan
from lib.networks.prepared import prepared_path
from lib.networks.weights import version_of
from lib.server import encoder_upgrade
from lib.server.encoder_upgrade import EncoderUpgrade, Source, load_encoder
from lib.training.registry import apply_version
from tests.support import golden
from tests.support.versions import publish_inverted

FAST = EncoderKind("openvino", "bf16")
PLAN = EncoderPlan(EncoderKind("torch", "fp32"), FAST)
CONTEST = EncoderPlan(EncoderKind("torch", "fp32"), FAST, contest=True)


class Embedder:
    """The part of SliceEmbedder that an upgrade touches."""

    also_good: tuple[str, ...] = ()

    def __init__(self, seconds: float = 0.0) -> None:
        self.model = golden.tiny_model()
        self.encoder = Fake("torch fp32", seconds)


class Fake:
    """An encoder that takes its time."""

    def __init__(self, name: str, seconds: float = 0.0) -> None:
        self.backend_name = name
        self.seconds = seconds
        self.threads: set[str] = set()

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        return images


def upgrade(
    plan: EncoderPlan, make: Callable[[EncoderKind], Fake], embedder: Embedder
) -> EncoderUpgrade:
    return EncoderUpgrade(plan, make, embedder, PriorityWorker("the worker"))


def test_the_first_encoder_answers_until_the_second_is_ready() -> None:
    embedder, ready, fast = Embedder(), threading.Event(), Fake("openvino bf16")

    def make(kind: EncoderKind) -> Fake:
        assert kind == FAST
        ready.wait()
        return fast

    running = upgrade(PLAN, make, embedder)
    assert not running.wait(0.05)
    assert running.status == "torch fp32, preparing openvino bf16"
    assert embedder.encoder.backend_name == "torch fp32"
    assert embedder.also_good == ("openvino bf16",)  # of an earlier run
    ready.set()
    assert running.wait(10)
    assert running.status == "openvino bf16"
    assert embedder.encoder is fast
    assert embedder.also_good == ("torch fp32",)
    assert fast.threads == {"the worker"}


@pytest.mark.parametrize(("theirs", "winner"), [(0.0, "openvino bf16"), (0.1, "torch fp32")])
def test_a_contest_is_won_by_the_faster(theirs: float, winner: str) -> None:
    embedder = Embedder(0.05)
    running = upgrade(CONTEST, lambda kind: Fake("openvino bf16", theirs), embedder)
    assert running.wait(10)
    assert embedder.encoder.backend_name == winner
    assert {*embedder.also_good, winner} == {"openvino bf16", "torch fp32"}
    assert running.status.startswith(winner)
    assert " ms an image, torch fp32 " in running.status


def test_a_failure_leaves_the_first_encoder(caplog: pytest.LogCaptureFixture) -> None:
    def make(kind: EncoderKind) -> Fake:
        raise RuntimeError("no such instruction")

    embedder = Embedder()
    with caplog.at_level(logging.ERROR):
        running = upgrade(PLAN, make, embedder)
        assert running.wait(10)
    assert embedder.encoder.backend_name == "torch fp32"
    assert "no such instruction" in running.status
    assert "openvino bf16 could not be prepared" in caplog.text


def test_an_encoder_is_prepared_by_a_process_once_and_repaired(
    random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(
        "samed2d_t", random_weights, version_of("samed2d_t", random_weights), tmp_path / "cache"
    )
    model = build_model("samed2d_t", random_weights)
    kind = EncoderKind("openvino", "fp32")
    images = torch.randn(1, 3, 256, 256)
    expected = TorchEncoder(model).encode(images)
    encoder = load_encoder(kind, model, source)
    assert golden.relative_error(encoder.encode(images), expected) <= 1e-4
    path = prepared_path(source.cache, source.version, "fp32")
    path.write_text("damaged")
    again = load_encoder(kind, model, source)
    assert golden.relative_error(again.encode(images), expected) <= 1e-4
    monkeypatch.setattr(encoder_upgrade, "_prepare_in_child", None)
    load_encoder(kind, model, source)


def test_the_encoder_of_a_trained_version_is_prepared(random_weights: Path, tmp_path: Path) -> None:
    version = publish_inverted(tmp_path / "registry", random_weights, encoder=True)
    source = Source(
        "samed2d_t", random_weights, version.encoder_version, tmp_path / "cache", version.weights
    )
    model = build_model("samed2d_t", random_weights)
    images = torch.randn(1, 3, 256, 256)
    base = TorchEncoder(model).encode(images)
    apply_version(model, version)
    expected = TorchEncoder(model).encode(images)
    # Made by the process, from the file alone.
    encoder = load_encoder(EncoderKind("openvino", "fp32"), golden.tiny_model(), source)
    assert golden.relative_error(encoder.encode(images), expected) <= 1e-4
    assert golden.relative_error(base, expected) > 1e-2


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    source = Source("samed2d_t", tmp_path / "gone.safetensors", "v", tmp_path)
    with pytest.raises(UnavailableError, match=r"gone\.safetensors"):
        load_encoder(FAST, golden.tiny_model(), source)


def test_torch_needs_no_file(tmp_path: Path) -> None:
    source = Source("samed2d_t", tmp_path / "gone.safetensors", "v", tmp_path)
    encoder = load_encoder(EncoderKind("torch", "bf16"), golden.tiny_model(), source)
    assert encoder.backend_name == "torch bf16"
