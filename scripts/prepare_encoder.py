#!/usr/bin/env python3
"""Prepare a fast version of an image encoder, so that the server need not do it.

The server does the same by itself, in the background, when it first loads a model version; until
then it answers with the slower encoder. Exporting takes seconds, int8 about a minute.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.errors import CheckpointError, Samed2dError
from lib.networks import check_architecture, installed_weights
from lib.networks.backends import BACKENDS, check_backend, check_family
from lib.networks.checkpoint import read_tensors
from lib.networks.prepared import prepare, prepared_path
from lib.networks.weights import build_network, version_of
from lib.options import default_cache_dir
from lib.training.version import apply_tensors, encoder_digest, encoder_version


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 done, 1 could not be prepared, 2 wrong arguments. A version that is "
        "there already is left as it is.",
    )
    parser.add_argument(
        "--architecture", default="samed2d_t", help="network (default: %(default)s)"
    )
    parser.add_argument("--checkpoint", type=Path, help="weight file (default: the installed one)")
    parser.add_argument(
        "--changes",
        type=Path,
        metavar="FILE",
        help="weights.safetensors of a trained version, to lie over the weight file",
    )
    parser.add_argument(
        "--precision",
        choices=BACKENDS["openvino"],
        default="bf16",
        help="fp32 and bf16 share a file (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-dir", type=Path, default=default_cache_dir(), help="default: %(default)s"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Prepare what the command line says."""
    check_backend("openvino", options.precision)
    name = options.architecture
    check_architecture(name)
    weights = options.checkpoint or installed_weights(name)
    if weights is None:
        raise CheckpointError(
            got=f"architecture {name} without weights",
            allowed="one whose weights are installed, or --checkpoint FILE",
            todo=f"run scripts/get_weights.py {name}",
        )
    changes = {} if options.changes is None else read_tensors(options.changes)[0]
    version = encoder_version(version_of(name, weights), encoder_digest(changes))
    there = prepared_path(options.cache_dir, version, options.precision).is_file()
    started = time.perf_counter()
    model = build_network(name, weights)
    check_family(model, options.precision)
    apply_tensors(model, changes, str(options.changes))
    path = prepare(model, version, options.precision, options.cache_dir)
    if not options.quiet:
        what = "was there" if there else f"prepared in {time.perf_counter() - started:.0f} s"
        print(f"{version} {options.precision}: {what}: {path}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.ERROR if options.quiet else logging.WARNING)
    os.nice(19)  # whoever clicks meanwhile goes first
    try:
        run(options)
    except (Samed2dError, OSError, RuntimeError) as error:
        print(f"prepare_encoder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
