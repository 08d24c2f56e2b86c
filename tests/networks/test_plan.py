"""Which encoder serves, by options and device."""

from __future__ import annotations

import pytest

from lib.errors import OptionError
from lib.networks import plan
from lib.networks.plan import EncoderKind, EncoderPlan, plan_encoder

TORCH = EncoderKind("torch", "fp32")


@pytest.fixture(autouse=True)
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "has_bf16", lambda: True)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("auto", "auto", "cpu"), EncoderPlan(TORCH, EncoderKind("openvino", "bf16"), True)),
        (("auto", "fp32", "cpu"), EncoderPlan(TORCH, EncoderKind("openvino", "fp32"), True)),
        (("auto", "int8", "cpu"), EncoderPlan(TORCH, EncoderKind("openvino", "int8"))),
        (("openvino", "auto", "cpu"), EncoderPlan(TORCH, EncoderKind("openvino", "bf16"))),
        (("torch", "auto", "cpu"), EncoderPlan(TORCH)),
        (("torch", "bf16", "cpu"), EncoderPlan(EncoderKind("torch", "bf16"))),
        (("compiled", "fp32", "cpu"), EncoderPlan(TORCH, EncoderKind("compiled", "fp32"))),
        (("auto", "auto", "cuda"), EncoderPlan(EncoderKind("torch", "bf16"))),
        (("auto", "fp32", "cuda"), EncoderPlan(TORCH)),
    ],
)
def test_plans(asked: tuple[str, str, str], expected: EncoderPlan) -> None:
    assert plan_encoder(*asked) == expected


def test_a_processor_without_bf16_gets_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "has_bf16", lambda: False)
    assert plan_encoder("auto", "auto", "cpu").then == EncoderKind("openvino", "fp32")


@pytest.mark.parametrize(
    "asked", [("torch", "int8", "cpu"), ("openvino", "fp32", "cuda"), ("auto", "int8", "cuda")]
)
def test_what_cannot_run_is_refused(asked: tuple[str, str, str]) -> None:
    with pytest.raises(OptionError):
        plan_encoder(*asked)
