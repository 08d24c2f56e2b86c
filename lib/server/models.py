"""The models this app serves: one small TOML file each, and the network chosen for it.

```toml
name = "samed2d"             # as clients see it
kind = "click"               # which task serves it, see apps/samed2d/main.py
description = "..."
dimension = 2
architectures = ["samed2d_h", "samed2d_l", "samed2d_b", "samed2d_t"]   # best first
slab = 1                     # may be left out
```
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from lib.errors import OptionError
from lib.networks import ARCHITECTURES, check_architecture, installed_weights
from lib.networks.weights import is_ready_to_click
from lib.options import AppOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSpec:
    """What one file in ``apps/samed2d/models`` says.

    Attributes:
        name: of the model in the server's API.
        kind: which task serves it.
        description: one sentence for the annotator.
        dimension: 2 where a click segments one slice, 3 where it segments the volume.
        architectures: networks that can serve it, best first; the last one is the fall-back.
        slab: slices that the image encoder sees together; more than one for networks with Med-SA's
            adapters only.
    """

    name: str
    kind: str
    description: str
    dimension: int
    architectures: tuple[str, ...]
    slab: int = 1


@dataclass(frozen=True)
class NetworkChoice:
    """A network by name and the file with its weights; None where it stays untrained.

    ``slab`` is that of `ModelSpec`.
    """

    architecture: str
    weights: Path | None
    slab: int = 1


def read_models(folder: Path) -> tuple[ModelSpec, ...]:
    """Read every ``*.toml`` of a folder, in the order of the file names.

    Raises:
        OptionError: a file that is no TOML, lacks a key or has one nobody knows.
    """
    return tuple(_read_model(path) for path in sorted(folder.glob("*.toml")))


@dataclass(frozen=True)
class ServedSpec:
    """A model that is served, and the network that answers for it."""

    spec: ModelSpec
    choice: NetworkChoice


def served_models(folder: Path, options: AppOptions) -> tuple[ServedSpec, ...]:
    """The models that option ``models`` names, in its order, each with its network.

    A network or weight file that was asked for by name belongs to the models that can use it; the
    others choose for themselves.

    Raises:
        OptionError: a model without a file, or as `read_models` and `choose_network` say.
    """
    known = {spec.name: spec for spec in read_models(folder)}
    unknown = [name for name in options.models if name not in known]
    if unknown:
        raise OptionError(
            got=f"models {', '.join(unknown)}",
            allowed=", ".join(known),
            todo="correct --conf models",
        )
    specs = [known[name] for name in options.models]
    asked = options.architecture
    users = [spec for spec in specs if asked in spec.architectures]
    own = replace(options, architecture="auto", checkpoint=None)
    return tuple(
        ServedSpec(spec, choose_network(spec, own if users and spec not in users else options))
        for spec in specs
    )


def choose_network(spec: ModelSpec, options: AppOptions) -> NetworkChoice:
    """Decide which network serves a model, and with which weights.

    "auto" takes the first architecture of the model's list with installed weights that know
    medical images (vanilla SAM's do not), and falls back to the last of the list, untrained,
    where there are none. A network that was asked for by name must have weights: an untrained
    one would answer with noise.

    Raises:
        OptionError: an architecture that does not exist, is not this model's, or lacks weights;
            a checkpoint without an architecture, or one that is no file.
    """
    return replace(_choose(spec, options), slab=spec.slab)


def _choose(spec: ModelSpec, options: AppOptions) -> NetworkChoice:
    if options.checkpoint is not None:
        return _named_checkpoint(spec, options.architecture, options.checkpoint)
    if options.architecture != "auto":
        _check_architecture(spec, options.architecture)
        weights = installed_weights(options.architecture)
        if weights is None:
            raise OptionError(
                got=f"architecture {options.architecture!r} without weights",
                allowed="auto, or one whose weights are installed",
                todo=f"run scripts/get_weights.py {options.architecture}, or name a checkpoint",
            )
        return NetworkChoice(options.architecture, weights)
    for name in spec.architectures:
        weights = installed_weights(name)
        if weights is not None and is_ready_to_click(weights):
            return NetworkChoice(name, weights)
    logger.warning("no weights installed for %s: it answers with noise", spec.name)
    return NetworkChoice(spec.architectures[-1], None)


def _named_checkpoint(spec: ModelSpec, architecture: str, checkpoint: Path) -> NetworkChoice:
    if architecture == "auto":
        raise OptionError(
            got=f"checkpoint {checkpoint.name!r} without an architecture",
            allowed=", ".join(spec.architectures),
            todo="add --conf architecture NAME, the network the file was made for",
        )
    _check_architecture(spec, architecture)
    if not checkpoint.is_file():
        raise OptionError(
            got=f"checkpoint {str(checkpoint)!r}, where there is no file",
            allowed="a weight file",
            todo="correct the path; a relative one starts at the server's working directory",
        )
    return NetworkChoice(architecture, checkpoint.resolve())


def _check_architecture(spec: ModelSpec, name: str) -> None:
    check_architecture(name)
    if name not in spec.architectures:
        raise OptionError(
            got=f"architecture {name!r} for model {spec.name!r}",
            allowed=", ".join(("auto", *spec.architectures)),
            todo="choose one of these",
        )


def _read_model(path: Path) -> ModelSpec:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _broken(path, str(error)) from error
    names = {field.name for field in fields(ModelSpec)}
    if set({"slab": 1, **content}) != names:
        raise _broken(path, f"the keys {', '.join(sorted(content))}")
    _check_type(path, content, ("name", "kind", "description"), str)
    _check_type(path, content, ("dimension",), int)
    _check_type(path, content, ("architectures",), list)
    architectures = tuple(content["architectures"])
    if not architectures:
        raise _broken(path, "no architecture")
    for name in architectures:
        check_architecture(name)
    slab = content.get("slab", 1)
    if type(slab) is not int or slab < 1 or (slab > 1 and not _know_slabs(architectures)):
        raise _broken(path, f"slab = {slab!r}")
    return ModelSpec(
        name=content["name"],
        kind=content["kind"],
        description=content["description"],
        dimension=content["dimension"],
        architectures=architectures,
        slab=slab,
    )


def _know_slabs(architectures: Iterable[str]) -> bool:
    """Whether all of them have adapters along depth."""
    known = (ARCHITECTURES.get(name) for name in architectures)
    return all(found is not None and "medsa" in found.adapters for found in known)


def _check_type(
    path: Path, content: dict[str, object], names: Iterable[str], kind: type[object]
) -> None:
    for name in names:
        if type(content[name]) is not kind:
            raise _broken(path, f"{name} = {content[name]!r}")


def _broken(path: Path, what: str) -> OptionError:
    keys = ", ".join(field.name for field in fields(ModelSpec))
    return OptionError(
        got=f"model file {path.name} with {what}", allowed=f"the keys {keys}", todo="correct it"
    )
