"""The options of `scripts/pretrain.py`: a command line, and a file of settings and stages."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.data.phantoms import PHANTOM_KINDS
from lib.data.stream import Mixture
from lib.networks import ARCHITECTURES
from lib.training.pretrain import PretrainPlan
from lib.training.timed_run import OPTIMISERS

STAGE_SETTINGS = (
    *("minutes", "steps", "seed", "learns", "batch_size", "learning_rate", "optimiser", "ema"),
    *("kinds", "real_share", "region_share"),
    *("finish_share", "finish_kinds", "finish_real_share", "finish_region_share"),
)
"""What a stage may say for itself."""


def parse_options(description: str | None, command_line: Sequence[str]) -> argparse.Namespace:
    """Read the command line, and the file it names.

    Returns:
        All options, and as ``stages`` those of each stage, which has a ``name``; a run without
        stages is one, and its name is "".
    """
    parser = make_parser(description)
    options = parser.parse_args(command_line)
    tables: list[dict[str, Any]] = []
    words: list[str] = []
    if options.config is not None:
        settings = _read_settings(options.config, parser)
        tables = _stage_tables(settings.pop("stage", None), options.config, parser)
        allowed = sorted(set(vars(options)) - {"config", "resume"})
        words = _words(settings, allowed, options.config, parser)
        # In front of the command line and as words, so that they are checked like it, which wins.
        options = parser.parse_args([*words, *command_line])
    options.name = ""
    options.stages = _stages(tables, words, command_line, parser) if tables else [options]
    return options


def _read_settings(file: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """What a TOML file says; one that cannot be read ends the program."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        parser.error(f"{file}: {error}")


def _stages(
    tables: Sequence[Mapping[str, Any]],
    words: Sequence[str],
    command_line: Sequence[str],
    parser: argparse.ArgumentParser,
) -> list[argparse.Namespace]:
    """The options of each stage: its own before those of the whole file, the command line's first.

    Minutes of the command line are those of all stages, which keep their proportions.
    """
    of_all = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    of_all.add_argument("--minutes", type=float)
    total, others = of_all.parse_known_args(command_line)
    stages = []
    for number, table in enumerate(tables, start=1):
        settings = dict(table)
        name = str(settings.pop("name", number))
        if not name.isidentifier() and not name.isdigit():
            parser.error(f"stage {name!r}: a name is made of letters, digits and _")
        own = _words(settings, sorted(STAGE_SETTINGS), f"stage {name}", parser)
        options = parser.parse_args([*words, *own, *others])
        options.name = name
        stages.append(options)
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        parser.error(f"stages {', '.join(names)}: each has a name of its own")
    if total.minutes is not None:
        planned = sum(stage.minutes for stage in stages)
        for stage in stages:
            stage.minutes *= total.minutes / planned
    return stages


def _stage_tables(
    tables: object, file: Path, parser: argparse.ArgumentParser
) -> list[dict[str, Any]]:
    """The [[stage]] tables of a file."""
    if tables is None:
        return []
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        parser.error(f"{file}: stages are tables, [[stage]]")
    return tables


def _words(
    settings: Mapping[str, Any],
    allowed: Sequence[str],
    place: object,
    parser: argparse.ArgumentParser,
) -> list[str]:
    """Settings as words of a command line; unknown ones end the program."""
    if unknown := sorted(set(settings) - set(allowed)):
        parser.error(f"{place}: {', '.join(unknown)}; allowed are {', '.join(allowed)}")
    return [word for key, value in settings.items() for word in words_of(key, value)]


def words_of(key: str, value: object) -> list[str]:
    """A setting of a file as words of a command line."""
    option = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [option] * value
    values = value if isinstance(value, list) else [value]
    return [word for each in values for word in (option, str(each))]


def kinds(text: str) -> tuple[str, ...]:
    """Kinds of phantoms, separated by commas."""
    words = tuple(filter(None, text.split(",")))
    if unknown := sorted(set(words) - set(PHANTOM_KINDS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: no kind of phantoms")
    return words


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = PretrainPlan()
    parser.add_argument("--config", type=Path, help="file of options, see above")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="samed2d_t")
    parser.add_argument(
        "--minutes",
        type=float,
        default=defaults.minutes,
        help=f"length of the run, of all stages together (default {defaults.minutes:g})",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=defaults.steps,
        help="length of the run in steps instead, which another machine repeats",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PLACE",
        help="folder with .npz cases or NIfTI pairs *_image/*_label.nii.gz; may be repeated. One "
        "may be a data set that is read as a stream: a folder as build_dataset.py makes it, or the "
        "folder or http(s) address of shards",
    )
    parser.add_argument(
        "--validation-data",
        metavar="PLACE",
        help="such a data set, some of whose images are only measured; of a folder of PNG files "
        "those of its side for tests",
    )
    parser.add_argument(
        "--validation-images", type=int, default=48, help="of it (default %(default)s)"
    )
    parser.add_argument(
        "--validation-share", type=float, default=0.15, help="patients held out (default 0.15)"
    )
    parser.add_argument(
        "--validation-phantoms", type=int, default=48, help="measured too (default 48)"
    )
    parser.add_argument(
        "--real-share",
        type=float,
        default=Mixture().real_share,
        help="how often a real image is drawn (default %(default)s)",
    )
    parser.add_argument(
        "--region-share",
        type=float,
        default=Mixture().region_share,
        help="how often segments of a real image are drawn instead of its objects "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--finish-share",
        type=float,
        default=0.0,
        help="last part of the run that has shares of its own (default: none)",
    )
    parser.add_argument("--finish-real-share", type=float, default=0.6, help="default %(default)s")
    parser.add_argument(
        "--finish-region-share", type=float, default=0.1, help="default %(default)s"
    )
    parser.add_argument(
        "--finish-kinds", type=kinds, default=None, help="as --kinds (default: the same)"
    )
    parser.add_argument(
        "--kinds",
        type=kinds,
        default=(),
        help="kinds of phantoms, separated by commas, instead of the usual mixture: "
        + ", ".join(PHANTOM_KINDS),
    )
    parser.add_argument(
        "--learns",
        choices=("all", "rating"),
        default=defaults.learns,
        help="all of the network, or only which of its masks is the best (default %(default)s)",
    )
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument(
        "--processes", type=int, default=1, help="that learn together (default %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=defaults.threads,
        help="of each process (default %(default)s)",
    )
    parser.add_argument(
        "--optimiser",
        choices=OPTIMISERS,
        default=defaults.optimiser,
        help="of matrices and kernels, see lib/training/muon.py (default %(default)s)",
    )
    parser.add_argument(
        "--ema",
        type=float,
        default=defaults.ema,
        help="decay a step of the moving average of the weights (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--fp32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument("--start-from", type=Path, help="weight file to start from")
    parser.add_argument("--resume", action="store_true", help="go on from <out>/resume.pt")
    parser.add_argument(
        "--save-every", type=float, default=5.0, help="minutes between saves (default 5)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    return parser
