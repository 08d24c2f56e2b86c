#!/usr/bin/env python3
"""Pack a data set in the format of SA-Med2D-20M into tar files that training reads as a stream.

Each sample is three members with one number: NUMBER.png the image, NUMBER.masks.png all its masks
below one another with one bit a pixel, NUMBER.json their names. index.json lists the shards. The
same command goes on after a kill. What cannot be read is left out and listed in the index.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

Examples:
  pack_dataset.py --in dataset --out shards/train --side train
  pack_dataset.py --in SAMed2Dv1 --out shards --per-shard 2000 --workers 16
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from lib.data.shards.pack import pack
from lib.data.shards.sides import SIDES
from scripts._command import DONE, exit_code_of, positive, progress_on


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--in", dest="folder", type=Path, required=True, metavar="DIR", help="data set")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the shards")
    add("--per-shard", type=positive, default=1000, metavar="N", help="samples; default: 1000")
    add("--side", choices=SIDES, default="all", help="of the split; default: %(default)s")
    add("--seed", type=int, default=0, metavar="N", help="of the order; default: %(default)s")
    add("--workers", type=positive, default=1, metavar="N", help="processes; default: 1")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def carry_out(options: argparse.Namespace) -> int:
    with tqdm(unit="image", disable=options.quiet) as bar:
        args = (options.folder, options.out, options.per_shard, options.side, options.seed)
        index = pack(*args, progress_on(bar), options.workers)
    masks = sum(shard.masks for shard in index.shards)
    size = sum(shard.bytes for shard in index.shards) / 1e6
    print(f"{index.samples} images, {masks} masks in {len(index.shards)} shards, {size:.1f} MB")
    for reason in index.left_out[:20]:
        print(f"pack_dataset: left out: {reason}", file=sys.stderr)
    if len(index.left_out) > 20:
        print(f"pack_dataset: and {len(index.left_out) - 20} more", file=sys.stderr)
    return DONE


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    goes_on = "interrupted; the same command goes on"
    return exit_code_of(lambda: carry_out(options), "pack_dataset", goes_on)


if __name__ == "__main__":
    sys.exit(main())
