"""Fetch or install weights of the larger networks.

The compact network samed2d_t comes with the repository and needs nothing from here. This command
puts other weights where the server finds them: downloaded by name with a pinned SHA-256, or made
from a file that you already have. What is installed is safetensors; a file that cannot be read
without executing code from it is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lib/ lies in the root

from lib.networks.architectures import ARCHITECTURES
from lib.networks.architectures3d import ARCHITECTURES3D, find_any_architecture
from lib.networks.download import download_file
from lib.networks.published import (
    PUBLISHED,
    Installed,
    PublishedWeights,
    install_weights,
)
from lib.networks.weights import WEIGHTS_FOLDER, installed_weights
from scripts._command import progress_on
from scripts._fetching import exit_code_of

EXIT_CODES = """\
exit codes:
  0    installed, or already there
  1    the file was refused: wrong SHA-256, damaged, unsafe, or not for this network
  2    wrong use of this command
  3    no connection, or the server does not have the file
  4    the file can only be downloaded by a person; the text says where
  130  interrupted with Ctrl-C

examples:
  python scripts/get_weights.py --list
  python scripts/get_weights.py sam_vit_b
  python scripts/get_weights.py --from-file ~/Downloads/sam-med2d_b.pth --name samed2d_b
"""
BY_HAND = 4
_NAMES_SHOWN = 6


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "weights", nargs="?", choices=sorted(PUBLISHED), help="published weights to fetch"
    )
    parser.add_argument("--list", action="store_true", help="show what is known and installed")
    parser.add_argument("--from-file", type=Path, metavar="PATH", help="a file that you have")
    parser.add_argument(
        "--name",
        choices=sorted((*ARCHITECTURES, *ARCHITECTURES3D)),
        help="with --from-file: the network it is for",
    )
    parser.add_argument(
        "--sha256", help="with --from-file: refuse the file unless it has this SHA-256"
    )
    parser.add_argument(
        "--dest",
        type=Path,
        default=WEIGHTS_FOLDER,
        metavar="FOLDER",
        help="where weights are installed (default: where the server looks for them)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace weights that are installed already"
    )
    chosen = parser.parse_args(arguments)
    ways = [chosen.list, chosen.weights is not None, chosen.from_file is not None]
    if sum(ways) != 1:
        parser.error("give one of: a name, --list, --from-file")
    if chosen.from_file is not None and chosen.name is None:
        parser.error("--from-file needs --name")
    return chosen


def show_list(folder: Path) -> int:
    for weights in PUBLISHED.values():
        size = f"{weights.size / 1e6:,.0f} MB" if weights.size else "by hand"
        print(f"{weights.name:15} {size:>9}  for {weights.architecture}  {weights.about}")
    for name in (*ARCHITECTURES, *ARCHITECTURES3D):
        print(f"installed for {name}: {installed_weights(name, folder) or 'nothing'}")
    return 0


def fetch(weights: PublishedWeights, folder: Path, force: bool) -> int:
    """Download published weights, install them, and remove the download."""
    if not _may_write(weights.architecture, folder, force):
        return 0
    if not weights.by_script or weights.sha256 is None:
        print(
            f"{weights.filename} cannot be fetched by a script. Download it with a browser from\n"
            f"  {weights.url}\n"
            "(linked in the README of its project), then run\n"
            f"  python scripts/get_weights.py --from-file PATH --name {weights.architecture}"
        )
        return BY_HAND
    download = folder / weights.filename
    was_there = download.exists()
    print(f"downloading {weights.url}")
    with tqdm(total=weights.size, unit="B", unit_scale=True, disable=None) as bar:
        download_file(weights.url, download, weights.sha256, progress=progress_on(bar))
    print(f"SHA-256 verified; converting for {weights.architecture}")
    installed = install_weights(download, find_any_architecture(weights.architecture), folder)
    if not was_there:
        download.unlink()
    show_installed(installed)
    return 0


def install_own(path: Path, name: str, folder: Path, sha256: str | None, force: bool) -> int:
    """Install a file that the user has."""
    if not _may_write(name, folder, force):
        return 0
    installed = install_weights(path, find_any_architecture(name), folder, sha256=sha256)
    print(f"{path.name}: SHA-256 {installed.source_sha256}")
    known = [w.filename for w in PUBLISHED.values() if w.sha256 == installed.source_sha256]
    if known:
        print(f"this is {known[0]} as published")
    elif sha256 is None:
        print(
            "note: no hash is known for this file, so only its tensors were checked. Write its\n"
            "SHA-256 down and give it with --sha256 on other computers, to install the same file."
        )
    show_installed(installed)
    return 0


def show_installed(installed: Installed) -> None:
    report = installed.report
    print(f"installed {installed.path}: {report.summary()}")
    for title, names in (
        ("resampled", report.resampled),
        ("not in the file", report.missing),
        ("not used", report.leftover),
    ):
        if names:
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            print(f"  {title}: {', '.join(names[:_NAMES_SHOWN])}{more}")
    if installed.neutral_adapters:
        print(
            "note: the file has no adapters. Theirs were made neutral, so the network answers as\n"
            "SAM does at 256 x 256 pixels: a starting point for training, not for clinical images."
        )


def _may_write(name: str, folder: Path, force: bool) -> bool:
    """Whether nothing is installed yet, or may be replaced; says so otherwise."""
    there = installed_weights(name, folder)
    if there is not None and not force:
        print(f"already installed: {there} (replace it with --force)")
        return False
    return True


def carry_out(chosen: argparse.Namespace) -> int:
    if chosen.list:
        return show_list(chosen.dest)
    if chosen.from_file is not None:
        return install_own(chosen.from_file, chosen.name, chosen.dest, chosen.sha256, chosen.force)
    return fetch(PUBLISHED[chosen.weights], chosen.dest, chosen.force)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_arguments(arguments)
    return exit_code_of(lambda: carry_out(chosen), "the next run goes on from what has arrived")


if __name__ == "__main__":
    sys.exit(main())
