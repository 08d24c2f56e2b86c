"""Which encoder serves a model: one at once, and a faster one as soon as it is ready."""

from __future__ import annotations

from dataclasses import dataclass

from lib.networks.backends import check_backend, check_cpu
from lib.networks.openvino_encoder import has_bf16

AUTO = "auto"


@dataclass(frozen=True)
class EncoderKind:
    """A backend and a precision, see `lib.networks.backends`."""

    backend: str
    precision: str

    @property
    def name(self) -> str:
        """As `Encoder.backend_name` says it."""
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True)
class EncoderPlan:
    """What to do.

    Attributes:
        first: ready within a second; the first click gets it.
        then: prepared in the background, or None.
        contest: keep ``first`` where ``then`` turns out to be slower on this machine.
    """

    first: EncoderKind
    then: EncoderKind | None = None
    contest: bool = False


def plan_encoder(backend: str, precision: str, device: str) -> EncoderPlan:
    """Decide from the options and the device.

    "auto" means: on CUDA torch in bfloat16. On a CPU OpenVINO, in bfloat16 where the processor
    has it, if that turns out to be faster than torch. int8 loses some accuracy and is used only
    where it was asked for.

    Args:
        backend: "auto" or one of `lib.networks.backends.BACKENDS`.
        precision: "auto", "fp32", "bf16" or "int8".
        device: "cpu" or "cuda".

    Raises:
        OptionError: a combination that does not exist or cannot run here.
    """
    if device != "cpu":
        chosen = EncoderKind(
            "torch" if backend == AUTO else backend, "bf16" if precision == AUTO else precision
        )
        if chosen.backend == "openvino":
            check_cpu(device)
        check_backend(chosen.backend, chosen.precision)
        return _staged(chosen, contest=False)
    wanted = "openvino" if backend == AUTO else backend
    if precision == AUTO:
        # torch multiplies bfloat16 on any processor, but faster only where the processor does.
        precision = "bf16" if has_bf16() and backend != "torch" else "fp32"
    check_backend(wanted, precision)
    return _staged(EncoderKind(wanted, precision), contest=backend == AUTO and precision != "int8")


def _staged(chosen: EncoderKind, contest: bool) -> EncoderPlan:
    if chosen.backend == "torch":
        return EncoderPlan(chosen)
    return EncoderPlan(EncoderKind("torch", "fp32"), chosen, contest)
