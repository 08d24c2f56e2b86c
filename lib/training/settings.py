"""What the person who starts a training may choose: one frozen dataclass, parsed once.

Clients send these as JSON (3D Slicer shows them as a form), ``scripts/train.py`` as command-line
options. An unknown key is an error, so that a typing error never passes silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from lib.errors import OptionError
from lib.training.recipe import PARTS, RECIPES

AUTO = "auto"
TRAINED = (AUTO, *PARTS)
INITS = ("keep", "neutral", "published")
PUBLISH = ("gate", "force", "never")
TRACKING = ("None", "mlflow")
DEVICES = (AUTO, "cpu", "cuda")
PRECISIONS = (AUTO, "fp32", "bf16")

SENT_BY_HOST = frozenset({"model", "local_rank", "gpus", "client_id", "bundle_path", "run_id"})
"""Keys that MONAI Label or its clients add to every request; ``gpus`` is always "all" by then."""


def _word_of(allowed: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return value

    return parse


def _whole(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return number

    return parse


def _number(least: float, most: float) -> Callable[[object], float]:
    def parse(value: object) -> float:
        try:
            number = float(value) if isinstance(value, str | int | float) else float("nan")
        except ValueError:
            number = float("nan")
        if isinstance(value, bool) or not least <= number <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return number

    return parse


def _switch(value: object) -> bool:
    words = {"on": True, "true": True, "off": False, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _run_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
        raise ValueError("1 to 64 letters, digits, - and _")
    return value


def _tracking_uri(value: object) -> str:
    # MLflow 3.17 refuses the file store (CONTRACT of the host: every training would end with it).
    if not isinstance(value, str) or (value and not re.match(r"(sqlite|https?|postgresql)", value)):
        raise ValueError("empty, or an address such as sqlite:////home/me/mlflow.db or http://...")
    return value


def _setting(
    default: Any, parse: Callable[[object], Any], text: str, choices: tuple[str, ...] = ()
) -> Any:
    return field(default=default, metadata={"parse": parse, "help": text, "choices": choices})


def _choice(default: str, allowed: tuple[str, ...], text: str) -> Any:
    return _setting(
        default, _word_of(allowed), text, (default, *(a for a in allowed if a != default))
    )


@dataclass(frozen=True)
class TrainSettings:
    """How to train; immutable once parsed."""

    train: str = _choice(
        AUTO,
        TRAINED,
        "what learns: adapters (with prompt encoder and decoder), only_adapters, decoder (without "
        "adapters: quick), or auto (by device and amount of data)",
    )
    recipe: str = _choice("default", tuple(RECIPES), "default, or paper (SAM-Med2D's own)")
    max_epochs: int = _setting(10, _whole(1, 10000), "epochs; each ends with a validation")
    epoch_steps: int = _setting(
        20, _whole(1, 100000), "batches in an epoch, at least; more where there are more slices"
    )
    max_minutes: float = _setting(
        30.0, _number(0.05, 100000), "the run ends after so many minutes, with what it has by then"
    )
    train_batch_size: int = _setting(4, _whole(1, 4096), "images in a batch, of all processes")
    learning_rate: float = _setting(
        0.0, _number(0.0, 1.0), "peak learning rate; 0 takes the recipe's"
    )
    val_split: float = _setting(
        0.2, _number(0.05, 0.9), "share of the patients that are held out to judge the result"
    )
    adapter_init: str = _choice(
        "keep",
        INITS,
        "adapters at the start: keep (as in the serving model), neutral (they add nothing), or "
        "published (random, as SAM-Med2D starts)",
    )
    publish: str = _choice(
        "gate", PUBLISH, "serve the result: gate (if it is not worse), force, or never"
    )
    device: str = _choice(AUTO, DEVICES, "auto, cpu or cuda")
    precision: str = _choice(AUTO, PRECISIONS, "auto (bf16 where it is faster), fp32 or bf16")
    multi_gpu: bool = _setting(True, _switch, "use all CUDA devices of this machine")
    resume: bool = _setting(True, _switch, "go on with a run of this name that was interrupted")
    name: str = _setting("train_01", _run_name, "name of the run, and of its folder")
    seed: int = _setting(0, _whole(0, 2**31), "of all random choices")
    tracking: str = _choice("None", TRACKING, "None, or mlflow")
    tracking_uri: str = _setting("", _tracking_uri, "of MLflow; empty: a sqlite file of the run")

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> TrainSettings:
        """Read what a client sent.

        Raises:
            OptionError: a key that nobody knows, or a value that its setting does not allow.
        """
        parsers = {f.name: f.metadata["parse"] for f in fields(cls)}
        own = {key: value for key, value in values.items() if key not in SENT_BY_HOST}
        unknown = sorted(str(key) for key in own if key not in parsers)
        if unknown:
            raise OptionError(
                got="unknown training option " + ", ".join(repr(name[:64]) for name in unknown),
                allowed=", ".join(parsers),
                todo="correct or remove it",
            )
        parsed = {}
        for name, value in own.items():
            try:
                parsed[name] = parsers[name](value)
            except ValueError as error:
                raise OptionError(
                    got=f"training option {name} = {str(value)[:128]!r}",
                    allowed=str(error),
                    todo="correct it",
                ) from error
        return cls(**parsed)

    @classmethod
    def config(cls) -> dict[str, object]:
        """What clients show as a form; where there are choices a list, the default first."""
        return {f.name: list(f.metadata["choices"]) or f.default for f in fields(cls)}


def describe_settings() -> list[tuple[str, str, str]]:
    """Rows (name, default as text, explanation) for ``--help`` and the documentation."""
    return [
        (f.name, "" if f.default is MISSING else str(f.default), str(f.metadata["help"]))
        for f in fields(TrainSettings)
    ]
