"""Choosing backend, precision and device."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from lib.errors import OptionError
from lib.networks import AdapterSam
from lib.networks.backends import BACKENDS, check_backend, choose_device, make_encoder
from tests.support import golden

ERRORS = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.25}
"""Relative distance (2-norm) of embeddings that is allowed: the tiny network is a bad case."""


@pytest.fixture(scope="module")
def model() -> AdapterSam:
    return golden.tiny_model()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def expected(model: AdapterSam, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.encode(images)


@pytest.mark.parametrize(
    ("backend", "precision"),
    # "compiled" takes half a minute, so it is not tried in both precisions.
    [(b, p) for b, kinds in BACKENDS.items() for p in kinds if (b, p) != ("compiled", "bf16")],
)
def test_every_backend_computes_the_network(
    model: AdapterSam,
    images: torch.Tensor,
    expected: torch.Tensor,
    backend: str,
    precision: str,
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encoder = make_encoder(model, backend, precision)
    embeddings = encoder.encode(images)
    assert encoder.backend_name == f"{backend} {precision}"
    assert embeddings.dtype == torch.float32
    distance = (embeddings - expected).norm() / expected.norm()
    assert distance <= ERRORS[precision]
    # What is said to be coarser is: a bf16 that computes in fp32 would be slow in silence.
    if precision != "fp32" and backend != "openvino":
        assert distance > 1e-4
    # Alone or together, an image gets the same numbers, and earlier ones keep theirs.
    kept = embeddings.clone()
    assert torch.equal(encoder.encode(images[1:]), kept[1:])
    assert torch.equal(embeddings, kept)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("backend", "precision"), [("torch", "fp8"), ("torch", "int8"), ("abacus", "fp32")]
)
def test_unknown_backends_are_refused_with_the_known_ones(backend: str, precision: str) -> None:
    with pytest.raises(OptionError, match=r"torch: fp32, bf16; .*openvino: fp32, bf16, int8"):
        make_encoder(golden.tiny_model(), backend, precision)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install openvino"):
        check_backend("openvino", "fp32")
    check_backend("torch", "bf16")


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(OptionError, match="apt-get install g"):
        check_backend("compiled", "fp32")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(OptionError, match="cuda"):
        choose_device("cuda")
