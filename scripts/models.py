#!/usr/bin/env python3
"""Look at the trained versions of a network, and decide which one is served.

Every training that made the network better publishes a version. A running server follows within
seconds, without a restart. "base" names the weight file itself. The card of a weight file
(what it was trained on, how good it is, where it fails) lies beside it; "card" writes measurements
into it.

Examples:
    python scripts/models.py list
    python scripts/models.py show v0003
    python scripts/models.py show samed2d_t        the card of its weight file
    python scripts/models.py card runs/devset/metrics.json --note "not seen in training"
    python scripts/models.py diff v0002 v0003
    python scripts/models.py rollback              what served before
    python scripts/models.py rollback v0001
    python scripts/models.py export v0003 ours.safetensors
    python scripts/models.py prune --keep 5

Exit codes: 0 done, 1 not possible (no such version, damaged, disk), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.errors import NotFoundError, OptionError, Samed2dError
from lib.networks import ARCHITECTURES, ARCHITECTURES3D
from lib.networks.model_card import ModelCard, card_of, card_path, read_card, write_card
from lib.networks.model_card_text import card_markdown
from lib.networks.weights import build_network
from lib.options import parse_options
from lib.server.models import choose_network, read_models
from lib.training.card_figures import read_measurement
from lib.training.registry import BASE, Registry, Version, default_registry

DONE, FAILED, WRONG = 0, 1, 2
NAMES = sorted((*ARCHITECTURES, *ARCHITECTURES3D))
MODELS = Path(__file__).resolve().parents[1] / "apps" / "samed2d" / "models"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--registry",
        type=Path,
        default=default_registry(),
        metavar="DIR",
        help="folder of trained versions (default: %(default)s)",
    )
    common.add_argument(
        "--architecture",
        choices=NAMES,
        help="network (default: the one that a server started here would serve)",
    )
    common.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="base weights (default: installed ones)"
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    command = add("list", "list all versions; * marks the one that serves")
    command.add_argument("--json", action="store_true", help="for programs")
    command = add("show", "show what is known of a version")
    command.add_argument(
        "name", nargs="?", help="version, base, or a network (default: the one that serves)"
    )
    command = add("card", "write figures into the card of a weight file")
    command.add_argument(
        "metrics",
        type=Path,
        nargs="*",
        help="metrics.json of scripts/evaluate.py",
    )
    command.add_argument("--note", default="", help="what the reader must know of that data")
    command = add("diff", "show how two versions differ")
    command.add_argument("a", help="version, or base")
    command.add_argument("b", help="version, or base")
    command = add("rollback", "have another version served")
    command.add_argument("name", nargs="?", help="version, or base (default: what served before)")
    command = add("export", "write base and version together as one weight file")
    command.add_argument("name", help="version, or base")
    command.add_argument("file", type=Path, help="new file, ends in .safetensors")
    command = add("prune", "remove old versions; the one that serves stays")
    command.add_argument(
        "--keep", type=_count, required=True, metavar="N", help="so many of the newest stay"
    )
    return parser.parse_args(arguments)


def open_registry(options: argparse.Namespace) -> Registry:
    """The registry of the network that is meant.

    Raises:
        OptionError: there is no such network here, or it has no weights.
    """
    served = parse_options()
    if options.architecture is None and getattr(options, "name", None) in NAMES:
        options.architecture = options.name
    if options.architecture is not None:
        served = replace(served, architecture=options.architecture, checkpoint=None)
    if options.checkpoint is not None:
        served = replace(served, checkpoint=options.checkpoint)
    specs = {spec.name: spec for spec in read_models(MODELS)}
    users = [spec for spec in specs.values() if served.architecture in spec.architectures]
    choice = choose_network(users[0] if users else specs["samed2d"], served)
    if choice.weights is None:
        raise OptionError(
            got=f"{choice.architecture} without weights, which has no versions",
            allowed="a network with weights",
            todo="run scripts/get_weights.py, or name --checkpoint FILE",
        )
    return Registry(options.registry, choice.architecture, choice.weights)


def list_versions(registry: Registry, options: argparse.Namespace) -> None:
    """Print a line for each version."""
    versions, serving = registry.versions(), _name(registry.serving())
    if options.json:
        found = [_facts(v, serving) for v in versions]
        content = {"base": registry.base_version, "serving": serving, "versions": found}
        print(json.dumps(content, indent=2))
        return
    print(f"{_mark(BASE, serving)} {BASE:6} {registry.base_version} ({registry.base})")
    for version in versions:
        facts = version.manifest
        print(
            f"{_mark(version.name, serving)} {version.name:6} {facts.created[:16]}Z  "
            f"{facts.trained:8}  {facts.n_images:4} images  {_dice(facts.metrics)}"
        )


def show(registry: Registry, options: argparse.Namespace) -> None:
    """Print all that is known of a version."""
    serving = registry.serving()
    name = options.name or _name(serving)
    if name in (BASE, registry.architecture):
        print(f"{BASE}: {registry.base_version}, the weight file {registry.base}")
        card = card_of(registry.base)
        print("no model card" if card is None else f"\n{card_markdown(card)}")
        return
    print(json.dumps(_facts(registry.find(name), _name(serving)), indent=2))


def write_figures(registry: Registry, options: argparse.Namespace) -> None:
    """Write figures, and what is known of the weight file, into its card."""
    path = card_path(registry.base)
    written = read_card(path)
    if written is None:
        raise NotFoundError(
            got=f"no card {path}",
            allowed="a card, in which the data and the known failures are written by hand",
            todo="copy that of another network and correct it",
        )
    known = ARCHITECTURES.get(registry.architecture)
    base = None if known is None else known.base
    if base is not None and written.architecture == base:
        raise OptionError(
            got=f"the card of {base} for {registry.architecture}, which starts from its weights",
            allowed="a card of its own",
            todo=f"name --architecture {base}, or --checkpoint FILE",
        )
    written = _of_file(written, registry)
    for file in options.metrics:
        measurement, weights = read_measurement(file, options.note)
        if weights != registry.base_sha256:
            raise OptionError(
                got=f"{file}, measured with weights {weights[:12]}",
                allowed=f"figures of {registry.base.name}, {registry.base_sha256[:12]}",
                todo="measure again with --checkpoint, or name the weights here",
            )
        written = written.with_measurement(measurement)
    write_card(written, path)
    print(f"{path}: {len(written.measurements)} measurements")


def _of_file(written: ModelCard, registry: Registry) -> ModelCard:
    """The card with name, size and digest of the weight file; figures of another file go."""
    same = written.weights_sha256 == registry.base_sha256
    if not same and written.measurements:
        print("the weights are others than before: earlier figures were taken out", file=sys.stderr)
    model = build_network(registry.architecture, registry.base)
    return replace(
        written,
        architecture=registry.architecture,
        weights=registry.base.name,
        weights_sha256=registry.base_sha256,
        weights_bytes=registry.base.stat().st_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        measurements=written.measurements if same else (),
    )


def diff(registry: Registry, options: argparse.Namespace) -> None:
    """Print how far two versions are apart, part by part, and what is known of both."""
    for part in registry.diff(options.a, options.b):
        most = f", most of all {part.largest}" if part.changed else ""
        print(
            f"{part.part:15} {part.changed:4} of {part.tensors:4} tensors differ, "
            f"by {part.relative:.2%}{most}"
        )
    for name in (options.a, options.b):
        metrics = {} if name == BASE else registry.find(name).manifest.metrics
        print(f"{name:15} {_dice(metrics)}")


def rollback(registry: Registry, options: argparse.Namespace) -> None:
    """Have another version served."""
    version = registry.roll_back(options.name)
    name = registry.base_version if version is None else version.model_version
    print(f"serving now: {_name(version)} ({name}); a running server follows within seconds")


def export(registry: Registry, options: argparse.Namespace) -> None:
    """Write a weight file that needs no registry."""
    if options.file.suffix != ".safetensors":
        raise OptionError(
            got=f"file {options.file.name!r}",
            allowed="a name that ends in .safetensors",
            todo="correct it",
        )
    if options.file.exists():
        raise NotFoundError(
            got=f"{options.file}, where there is a file already",
            allowed="the path of a new file",
            todo="choose another name, or remove it",
        )
    registry.export(options.name, options.file)
    print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB")


def prune(registry: Registry, options: argparse.Namespace) -> None:
    """Remove old versions."""
    gone = registry.prune(options.keep)
    print(f"removed: {', '.join(gone)}" if gone else "nothing to remove")


COMMANDS: dict[str, Callable[[Registry, argparse.Namespace], None]] = {
    "list": list_versions,
    "show": show,
    "card": write_figures,
    "diff": diff,
    "rollback": rollback,
    "export": export,
    "prune": prune,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="models: %(message)s")
    try:
        COMMANDS[options.command](open_registry(options), options)
    except OptionError as error:
        print(f"models: {error.message}", file=sys.stderr)
        return WRONG
    except Samed2dError as error:
        print(f"models: {error.message}", file=sys.stderr)
        return FAILED
    return DONE


def _facts(version: Version, serving: str) -> dict[str, Any]:
    """What is printed of a version; who was learned from is counted, not named."""
    content = json.loads(version.manifest.to_json())
    content["patients_seen"] = len(content.pop("seen"))
    return {
        **content,
        "model_version": version.model_version,
        "serving": version.name == serving,
        "folder": str(version.folder),
    }


def _name(version: Version | None) -> str:
    return BASE if version is None else version.name


def _mark(name: str, serving: str) -> str:
    return "*" if name == serving else " "


def _dice(metrics: Mapping[str, Mapping[str, float | None]]) -> str:
    """Dice by prompt, before and after the training: "1: 0.612 -> 0.744"."""
    texts = []
    for prompt, dice in metrics.items():
        before, after = (_figure(dice.get(when)) for when in ("before", "after"))
        texts.append(f"{prompt}: {before} -> {after}")
    return "Dice " + ", ".join(texts) if texts else "no figures"


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError("a whole number of at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
