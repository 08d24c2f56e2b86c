"""The stages in which a network for volumes is trained, from one file.

```toml
architecture = "sammed3d_t"

[[stage]]
name = "general"
size = 64            # edge of the cubes; the network's own where it is left out
minutes = 25
real_share = 0.2

[[stage]]
name = "fine"
minutes = 20
learning_rate = 4e-4
real_share = 0.5
```

A stage may say anything of `Pretrain3dPlan`, of its mixture and of its interaction; each begins
with what the one before it has learned.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lib.data.windows3d import Mixture3d
from lib.errors import OptionError
from lib.networks.architectures3d import Architecture3d, find_architecture3d
from lib.training.annotator3d import Interaction3d
from lib.training.pretrain3d import Pretrain3dPlan

_PARTS: dict[str, type] = {"mixture": Mixture3d, "interaction": Interaction3d}


@dataclass(frozen=True)
class Stage3d:
    """One stage.

    Attributes:
        name: of its folder.
        size: edge of the cubes it learns from, voxels.
        plan: how it goes.
    """

    name: str
    size: int
    plan: Pretrain3dPlan


@dataclass(frozen=True)
class Training3d:
    """All stages of a network, first to last."""

    architecture: Architecture3d
    stages: tuple[Stage3d, ...]


def read_training(path: Path, minutes: float | None = None) -> Training3d:
    """Read the file of a training.

    Args:
        path: of a TOML file, see above.
        minutes: of all stages together instead of the file's, shared out alike; None: the file's.

    Raises:
        OptionError: a file that cannot be read, an unknown setting or a value of another type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(got=f"{path} ({error})", allowed="a TOML file of stages") from error
    if unknown := sorted(set(content) - {"architecture", "stage"}):
        raise _refused(f"{path.name} with {', '.join(unknown)}", "architecture and stages")
    tables = content.get("stage")
    if not isinstance(tables, list) or not tables:
        raise _refused(f"{path.name} without a stage", "at least one [[stage]]")
    architecture = find_architecture3d(str(content.get("architecture", "sammed3d_t")))
    if minutes is not None:
        whole = sum(float(table.get("minutes", Pretrain3dPlan.minutes)) for table in tables)
        for table in tables:
            table["minutes"] = minutes * float(table.get("minutes", Pretrain3dPlan.minutes)) / whole
    stages = tuple(_stage(table, architecture) for table in tables)
    if stages[-1].size != architecture.image_size:
        raise _refused(
            f"a last stage of size {stages[-1].size}",
            f"that of the network: {architecture.image_size}",
        )
    return Training3d(architecture, stages)


def _stage(table: Mapping[str, Any], architecture: Architecture3d) -> Stage3d:
    left = dict(table)
    name, size = left.pop("name", "only"), left.pop("size", architecture.image_size)
    if not isinstance(size, int) or size <= 0 or size % (2 * architecture.patch_size):
        raise _refused(f"size = {size!r}", f"a multiple of {2 * architecture.patch_size}")
    parts = {part: kind(**_taken(left, kind)) for part, kind in _PARTS.items()}
    plan = Pretrain3dPlan(**_taken(left, Pretrain3dPlan), **parts)
    if left:
        raise _refused(f"stage {name!r} with {', '.join(sorted(left))}", "settings of a stage")
    if plan.recipe not in ("default", "paper"):
        raise _refused(f"recipe = {plan.recipe!r}", "default, paper")
    return Stage3d(str(name), size, plan)


def _taken(table: dict[str, Any], kind: type) -> dict[str, Any]:
    """The settings of ``table`` that are fields of a dataclass, taken out of it and checked."""
    taken = {}
    for field in fields(kind):
        if field.name not in table or field.name in _PARTS:
            continue
        value = table.pop(field.name)
        usual = getattr(kind, field.name)
        number = isinstance(usual, float) and type(value) is int
        if type(value) is not type(usual) and not number:
            raise _refused(f"{field.name} = {value!r}", f"a value like {usual!r}")
        taken[field.name] = float(value) if number else value
    return taken


def _refused(got: str, allowed: str) -> OptionError:
    return OptionError(got=got, allowed=allowed, todo="see lib/training/stages3d.py")
