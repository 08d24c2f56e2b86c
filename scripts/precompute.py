#!/usr/bin/env python3
"""Encode every slice of a folder or PACS, so that no click has to wait for that.

The embeddings are kept on disk (option cache_dir), where a server finds them that is started with
the same studies, network and options. May be ended at any time and started again: what is on disk
is not encoded again.

Examples:
  precompute.py --studies sample-data/studies
  precompute.py --studies http://localhost:8042/dicom-web --conf precision int8
  precompute.py --studies /data/ct --image case_01 --image case_02
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from monailabel.interfaces.utils.app import app_instance  # noqa: E402
from tqdm import tqdm  # noqa: E402

from lib.errors import NotFoundError, Samed2dError  # noqa: E402
from lib.server.precompute import Precomputed, precompute  # noqa: E402

DONE, FAILED, INTERRUPTED = 0, 1, 130


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 all images done, 1 some or all failed, 2 wrong arguments, "
        "130 interrupted. One slice takes 390 KB on disk with samed2d_t, 260 KB with the others; "
        "--conf embedding_disk_mb bounds the whole.",
    )
    parser.add_argument("--studies", required=True, help="folder, or address of a DICOMweb server")
    parser.add_argument("--model", default="samed2d", help="as served (default: %(default)s)")
    parser.add_argument(
        "--image", action="append", default=[], help="id of an image (default: all of them)"
    )
    parser.add_argument(
        "--conf",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="option as for the server, such as --conf architecture samed2d_b",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> Precomputed:
    """Encode what the command line says, with a progress bar over images."""
    studies = options.studies
    if not studies.startswith(("http://", "https://")):
        studies = str(Path(studies).resolve())
        if not Path(studies).is_dir():
            raise NotFoundError(
                got=f"--studies {options.studies}",
                allowed="a folder of images or a DICOMweb address",
                todo="correct the path",
            )
    conf = {"encode_ahead": "off", **dict(options.conf)}
    app = app_instance(str(ROOT / "apps" / "samed2d"), studies, conf)
    if options.model not in app._infers:
        raise NotFoundError(
            got=f"model {options.model!r}",
            allowed=", ".join(app._infers),
            todo="choose one of these",
        )
    known = app.datastore().list_images()
    images = options.image or known
    unknown = sorted(set(images) - set(known))
    if unknown:
        raise NotFoundError(
            got=f"image {', '.join(unknown)}",
            allowed=f"{len(known)} ids of {options.studies}, such as {', '.join(known[:3])}",
            todo="correct --image",
        )
    with tqdm(total=len(images), unit="image", disable=options.quiet) as bar:

        def progress(image: str, done: int, total: int) -> None:
            bar.set_postfix_str(f"{image[:40]} {done}/{total}", refresh=False)
            bar.update(1 if done == total else 0)

        return precompute(app._infers[options.model], app.datastore(), images, progress)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_arguments(arguments)
    logging.disable(logging.INFO)
    started = time.perf_counter()
    try:
        done = run(options)
    except Samed2dError as error:
        print(f"precompute: {error.message}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("precompute: interrupted; what was encoded is kept", file=sys.stderr)
        return INTERRUPTED
    seconds = time.perf_counter() - started
    print(
        f"{done.encoded} slices encoded, {done.found} had been before, in {seconds:.1f} s"
        + (f" ({seconds / done.encoded:.3f} s a slice)" if done.encoded else "")
    )
    for image, reason in done.failed.items():
        print(f"precompute: {image}: {reason}", file=sys.stderr)
    if done.too_many:
        print(
            f"precompute: about {done.too_many} slices do not fit on the disk and were removed "
            "again; raise --conf embedding_disk_mb, here and for the server",
            file=sys.stderr,
        )
    return FAILED if done.failed or done.too_many else DONE


if __name__ == "__main__":
    sys.exit(main())
