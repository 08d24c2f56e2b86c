#!/usr/bin/env python3
"""Train a served network on labelled images, outside of the server, and publish the result.

The result goes through the same gate into the same registry as a training that a viewer starts; a
running server takes it over within seconds.

Examples:
    python scripts/train.py --data my_cases --train decoder
    python scripts/train.py --studies /data/studies --max-epochs 20
    python scripts/train.py --data shards/train --data https://host/shards/train
    torchrun --nproc-per-node 4 scripts/train.py --data my_cases --train adapters

Start it again after an interruption: it goes on where it was.
Exit codes: 0 done (published or not), 1 failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.data.labelled_set import read_labelled_set
from lib.data.labelled_slices import LabelledSlices
from lib.data.pool import read_folder
from lib.data.shards.opening import is_data_set, open_data_set
from lib.errors import OptionError, Samed2dError
from lib.networks import ARCHITECTURES, installed_weights
from lib.options import default_cache_dir
from lib.training.observers import LogObserver
from lib.training.processes import join, place_from_environment
from lib.training.registry import Registry, default_registry
from lib.training.run import TrainJob, train
from lib.training.settings import TrainSettings, describe_settings


def parse_arguments() -> argparse.Namespace:
    """The command line; one option for each training setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data",
        action="append",
        metavar="PLACE",
        help="folder with .npz cases or NIfTI pairs *_image/*_label.nii.gz; or a data set that "
        "fits into memory: a folder as build_dataset.py makes it, or the folder or http(s) address "
        "of shards; may be repeated",
    )
    source.add_argument(
        "--studies",
        type=Path,
        metavar="DIR",
        help="folder that the server serves, with the labels saved in it",
    )
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="samed2d_t")
    parser.add_argument(
        "--checkpoint", type=Path, help="base weights (default: the installed ones)"
    )
    parser.add_argument(
        "--registry",
        type=Path,
        default=default_registry(),
        help="folder of published versions (default: %(default)s)",
    )
    parser.add_argument("--stats", type=Path, help="write figures to this JSON file as well")
    group = parser.add_argument_group("training settings")
    for name, default, text in describe_settings():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=None,
            help=f"{text} (default: {default})",
        )
    return parser.parse_args()


def settings_of(arguments: argparse.Namespace) -> TrainSettings:
    """The training settings among the arguments."""
    names = [name for name, _, _ in describe_settings()]
    given = {name: getattr(arguments, name) for name in names}
    return TrainSettings.parse({name: text for name, text in given.items() if text is not None})


def read_place(place: str) -> LabelledSlices:
    """The labelled slices of one --data."""
    if is_data_set(place):
        return read_labelled_set(open_data_set(place))
    return LabelledSlices(tuple(read_folder(Path(place))), ())


def read_data(arguments: argparse.Namespace) -> LabelledSlices:
    """The labelled slices of the folders."""
    if arguments.data:
        return LabelledSlices.joined(map(read_place, arguments.data))
    from monailabel.datastore.local import LocalDatastore

    from lib.imaging.volume import ReadLimits
    from lib.server.host import SETTINGS
    from lib.server.labelled import read_labelled

    if not arguments.studies.is_dir():
        raise OptionError(
            got=f"--studies {arguments.studies}, which is no folder", allowed="a folder of images"
        )
    extensions = SETTINGS["MONAI_LABEL_DATASTORE_FILE_EXT"]
    datastore = LocalDatastore(str(arguments.studies), extensions=extensions, auto_reload=False)
    return read_labelled(datastore, ReadLimits(), lambda done, total: None)


def weights_of(arguments: argparse.Namespace) -> Path:
    """The base weights.

    Raises:
        OptionError: none are installed, or there is no such file.
    """
    path = arguments.checkpoint or installed_weights(arguments.architecture)
    if path is None or not path.is_file():
        raise OptionError(
            got=f"{arguments.architecture} without base weights",
            allowed="a weight file",
            todo=f"run scripts/get_weights.py {arguments.architecture}, or name --checkpoint FILE",
        )
    return Path(path)


def main() -> int:
    """Run the command line."""
    arguments = parse_arguments()
    place = place_from_environment()
    level = logging.INFO if place.rank == 0 else logging.WARNING
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("lib").setLevel(level)
    try:
        job = TrainJob(
            architecture=arguments.architecture,
            weights=weights_of(arguments),
            registry=arguments.registry,
            data=read_data(arguments),
            settings=settings_of(arguments),
            cache=default_cache_dir(),
        )
        stats = arguments.stats or (
            Registry(job.registry, job.architecture, job.weights).folder / "train_stats.json"
        )
        with join(place):
            outcome = train(job, LogObserver(stats), place.rank, place.world)
        if outcome is not None:
            print(f"report: {outcome.report / 'report.html'}")
    except OptionError as error:
        print(f"train: {error.message}", file=sys.stderr)
        return 2
    except Samed2dError as error:
        print(f"train: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; start it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
