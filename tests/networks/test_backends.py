"""Choosing backend, precision and device."""

from __future__ import annotations

import pytest
import torch

from lib.errors import OptionError
from lib.networks.backends import choose_device, make_encoder
from tests.support import golden


def test_torch_fp32_is_the_network_itself() -> None:
    model = golden.tiny_model()
    images = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    encoder = make_encoder(model, "torch", "fp32")
    with torch.inference_mode():
        assert torch.equal(encoder.encode(images), model.encode(images))
    assert encoder.backend_name == "torch fp32"


@pytest.mark.parametrize(("backend", "precision"), [("torch", "fp8"), ("abacus", "fp32")])
def test_unknown_backends_are_refused_with_the_known_ones(backend: str, precision: str) -> None:
    with pytest.raises(OptionError, match=r"torch: fp32"):
        make_encoder(golden.tiny_model(), backend, precision)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(OptionError, match="cuda"):
        choose_device("cuda")
