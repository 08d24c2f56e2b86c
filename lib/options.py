"""Application options: one frozen dataclass, parsed once from ``--conf`` and the environment.

``monailabel start_server ... --conf labels "liver,spleen"`` arrives here as a mapping of
strings. The environment gives the same options as ``SAMED2D_<NAME>``; ``--conf`` wins. A key
nobody knows is an error that lists the known ones, so that a typing error never passes
silently. `describe_options` is the only source of the options table in the README.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lib.errors import OptionError

ENVIRONMENT_PREFIX = "SAMED2D_"
ENVIRONMENT_OF_SCRIPTS = frozenset({"SAMED2D_VENV", "SAMED2D_SCREENSHOT", "SAMED2D_KEY"})
"""Variables with our prefix that belong to scripts and tests and are no options."""

DEFAULT_MODELS = ("samed2d", "samed2d_volume")
DEFAULT_LABELS = ("liver", "spleen", "kidney", "vertebra", "tumour", "ventricle", "organ")
DEVICES = ("auto", "cpu", "cuda")
BACKENDS = ("auto", "torch", "compiled", "openvino")
PRECISIONS = ("auto", "fp32", "bf16", "int8")
INTENSITIES = ("auto", "soft_tissue", "lung", "bone", "brain", "percentile", "minmax")
SWITCH = ("on", "off")
ZOOMS = ("auto", "on", "off")
STRATEGIES = ("hybrid", "uncertainty", "diversity", "sequential", "random")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("at least one name, separated by commas")
    if len(set(names)) != len(names):
        raise ValueError("every name once only")
    return names


def _word_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return parse


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("a name that is not empty")
    return text.strip()


def _optional_path(text: str) -> Path | None:
    return Path(text).expanduser() if text.strip() else None


def _positive_int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError("a whole number of at least 1")
    return value


def _not_negative_int(text: str) -> int:
    return 0 if text.strip() == "0" else _positive_int(text)


def _option(default: Any, parse: Callable[[str], Any], text: str) -> Any:
    """A dataclass field that knows how to read itself and how to explain itself."""
    return field(default=default, metadata={"parse": parse, "help": text})


@dataclass(frozen=True)
class AppOptions:
    """What the person who starts the server may choose; immutable once parsed."""

    # ruff: noqa: RUF009 - _option returns a dataclass field
    labels: tuple[str, ...] = _option(
        DEFAULT_LABELS, _names, "label names offered to the annotator, separated by commas"
    )
    models: tuple[str, ...] = _option(
        DEFAULT_MODELS,
        _names,
        "models to serve, separated by commas; each is a file in apps/samed2d/models",
    )
    architecture: str = _option(
        "auto",
        _name,
        "network to serve: auto (the best one with weights present), samed2d_t, samed2d_b, ...",
    )
    checkpoint: Path | None = _option(
        None, _optional_path, "weight file for that network instead of the installed one"
    )
    device: str = _option("auto", _word_of(DEVICES), "where the network runs: auto, cpu or cuda")
    backend: str = _option(
        "auto",
        _word_of(BACKENDS),
        "what runs the image encoder: auto (openvino on a CPU if it is faster there, else torch), "
        "torch, compiled (torch.compile) or openvino",
    )
    precision: str = _option(
        "auto",
        _word_of(PRECISIONS),
        "of the image encoder: auto (bf16 where the processor has it, else fp32), fp32, bf16, or "
        "int8 (fastest, openvino only)",
    )
    intensity: str = _option(
        "auto",
        _word_of(INTENSITIES),
        "how grey values become 8 bit: auto, a CT window (soft_tissue, lung, bone, brain), "
        "percentile or minmax",
    )
    zoom: str = _option(
        "auto",
        _word_of(ZOOMS),
        "look again at small targets in a part of the slice: auto, on (whenever a part shows more) "
        "or off",
    )
    embedding_cache_mb: int = _option(
        256, _positive_int, "memory for the embeddings of slices that were clicked, in MiB"
    )
    volume_cache_mb: int = _option(2048, _positive_int, "memory for volumes that were read, in MiB")
    max_voxels: int = _option(
        1 << 30, _positive_int, "largest image that is opened, in voxels (rows x columns x slices)"
    )
    embedding_disk_mb: int = _option(
        4096, _not_negative_int, "disk for the embeddings of slices, in MiB; 0 keeps none on disk"
    )
    cache_dir: Path | None = _option(
        None, _optional_path, "folder of what is kept on disk (empty: ~/.cache/samed2d)"
    )
    encode_ahead: str = _option(
        "on", _word_of(SWITCH), "encode the other slices of an opened volume ahead: on or off"
    )
    registry: Path | None = _option(
        None, _optional_path, "folder of trained versions (empty: apps/samed2d/model)"
    )
    journal: Path | None = _option(
        None,
        _optional_path,
        "folder where saved labels are kept until the PACS has them "
        "(empty: ~/.local/share/samed2d/journal)",
    )
    strategy: str = _option(
        "hybrid",
        _word_of(STRATEGIES),
        "how the next case to label is chosen: hybrid, uncertainty, diversity, sequential or "
        "random; clients that ask for random, as OHIF always does, get this one",
    )
    lease_minutes: int = _option(
        30,
        _not_negative_int,
        "so long a case is kept for the person it was given to, in minutes; 0 keeps none",
    )
    score_budget: int = _option(
        30,
        _not_negative_int,
        "images that are scored in the background to choose the next case, a minute at most; "
        "0 for never",
    )
    scored_slices: int = _option(
        5, _positive_int, "slices of each image that are scored, evenly spread"
    )
    auto_train: int = _option(
        0,
        _not_negative_int,
        "start the quick training by itself after so many newly labelled images; 0 for never",
    )
    volume_seconds: int = _option(
        30, _positive_int, "time that samed2d_volume may take for one answer, in seconds"
    )
    api_keys: Path | None = _option(
        None,
        _optional_path,
        "file of those who may use the server, made by scripts/users.py (empty: "
        "~/.config/samed2d/api-keys.json; without that file only this computer is answered)",
    )
    max_upload_mb: int = _option(
        2048, _positive_int, "largest file that is taken from a client, in MiB"
    )
    max_waiting: int = _option(
        64, _positive_int, "requests that wait for their turn; one more is answered with 503"
    )
    audit_log: Path | None = _option(
        None,
        _optional_path,
        "file in which is written who saved, trained and published what "
        "(empty: ~/.local/share/samed2d/audit.log)",
    )


def default_cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where caches lie unless option ``cache_dir`` says otherwise: ``~/.cache/samed2d``.

    ``XDG_CACHE_HOME`` takes the place of ``~/.cache`` where it holds an absolute path, as the XDG
    base directory specification asks for.

    Args:
        environment: variables to look in; ``os.environ`` where None.
    """
    return _home("XDG_CACHE_HOME", "~/.cache", environment) / "samed2d"


def default_journal(environment: Mapping[str, str] | None = None) -> Path:
    """Where saved labels lie unless option ``journal`` says so: ``~/.local/share/samed2d/journal``.

    ``XDG_DATA_HOME`` takes the place of ``~/.local/share`` where it holds an absolute path.

    Args:
        environment: variables to look in; ``os.environ`` where None.
    """
    return _home("XDG_DATA_HOME", "~/.local/share", environment) / "samed2d" / "journal"


def default_audit_log(environment: Mapping[str, str] | None = None) -> Path:
    """Where the audit log is unless option ``audit_log`` says so; beside the journal."""
    return default_journal(environment).with_name("audit.log")


def default_api_keys(environment: Mapping[str, str] | None = None) -> Path:
    """Where keys are looked for unless option ``api_keys`` says so.

    That is ``~/.config/samed2d/api-keys.json``; ``XDG_CONFIG_HOME`` takes the place of
    ``~/.config`` where it holds an absolute path.

    Args:
        environment: variables to look in; ``os.environ`` where None.
    """
    return _home("XDG_CONFIG_HOME", "~/.config", environment) / "samed2d" / "api-keys.json"


def _home(variable: str, otherwise: str, environment: Mapping[str, str] | None) -> Path:
    """A folder of the XDG base directory specification."""
    environment = os.environ if environment is None else environment
    home = Path(environment.get(variable, ""))
    return home if home.is_absolute() else Path(otherwise).expanduser()


def known_options() -> tuple[str, ...]:
    """Names of all options, in the order in which they are documented."""
    return tuple(f.name for f in fields(AppOptions))


def describe_options() -> list[tuple[str, str, str]]:
    """Rows (name, default as text, explanation) for ``--help`` and the README's table."""
    rows = []
    for f in fields(AppOptions):
        if isinstance(f.default, tuple):
            default = ",".join(f.default)
        else:
            default = "" if f.default is None else str(f.default)
        rows.append((f.name, default, str(f.metadata["help"])))
    return rows


def parse_options(
    conf: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> AppOptions:
    """Read the options from ``--conf`` pairs and from the environment; ``--conf`` wins.

    Args:
        conf: option name -> text, as MONAI Label hands it over.
        environment: variables to look in; ``os.environ`` where None.

    Raises:
        OptionError: a key that nobody knows, or a value that its option does not allow.
    """
    environment = os.environ if environment is None else environment
    texts: dict[str, str] = {}
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in ENVIRONMENT_OF_SCRIPTS:
            texts[variable.removeprefix(ENVIRONMENT_PREFIX).lower()] = text
    texts.update({str(key): str(text) for key, text in (conf or {}).items()})

    parsers = {f.name: f.metadata["parse"] for f in fields(AppOptions)}
    unknown = sorted(set(texts) - set(parsers))
    if unknown:
        raise OptionError(
            got="unknown option " + ", ".join(repr(name) for name in unknown),
            allowed=", ".join(parsers),
            todo="correct or remove it in --conf or in the environment",
        )
    values = {}
    for name, text in texts.items():
        try:
            values[name] = parsers[name](text)
        except ValueError as error:
            raise OptionError(
                got=f"option {name} = {text!r}",
                allowed=str(error),
                todo="correct it in --conf or in the environment",
            ) from error
    return AppOptions(**values)
