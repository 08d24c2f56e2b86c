"""Install the OHIF viewer that the server shows under /samed2d/.

Fetches the official build of OHIF from the npm registry, by version and SHA-256, unpacks it beside
this project's own extension and adapts its addresses. Nothing is compiled, and no Node.js is needed
to use it. The viewer that MONAI Label brings along stays under /ohif/.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # lib/ lies in the root

from lib.errors import NotFoundError, UnavailableError
from lib.networks.download import download_file
from lib.server.viewer_build import BUILD_FOLDER, OHIF, install_build, installed_build
from scripts._command import progress_on
from scripts._fetching import exit_code_of

EPILOG = f"""\
With npm on the computer, npm fetches the package, from the registry that it is set up for; without,
it is downloaded from {OHIF.url}.
For a computer without internet, run "npm pack {OHIF.spec}" elsewhere and give the file with
--from-file.

exit codes:
  0    installed, or already there
  1    the file was refused: it is not {OHIF.spec}
  2    wrong use of this command
  3    no connection, or the registry does not have the package
  130  interrupted with Ctrl-C
"""


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from-file", type=Path, metavar="PATH", help="the package's .tgz file")
    parser.add_argument(
        "--dest",
        type=Path,
        default=BUILD_FOLDER,
        metavar="FOLDER",
        help="where it is installed (default: where the server looks for it)",
    )
    parser.add_argument("--force", action="store_true", help="install again what is there")
    return parser.parse_args(arguments)


def fetch(folder: Path) -> Path:
    """The package's file, downloaded into a folder.

    Raises:
        UnavailableError, NotFoundError: there is no way to it.
    """
    npm = shutil.which("npm")
    if npm is None:
        target = folder / "ohif.tgz"
        with tqdm(total=OHIF.size, unit="B", unit_scale=True, disable=None) as bar:
            return download_file(OHIF.url, target, OHIF.sha256, progress=progress_on(bar))
    command = [npm, "pack", OHIF.spec, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    packed = list(folder.glob("*.tgz"))
    if done.returncode or not packed:
        reason = (done.stderr.strip().splitlines() or ["no file"])[0]
        raise UnavailableError(
            got=f"npm could not fetch {OHIF.spec} ({reason})",
            todo="check the connection and npm's registry, or install a copy with --from-file",
        )
    return packed[0]


def install(tarball: Path, dest: Path) -> None:
    with tqdm(unit="B", unit_scale=True, desc="unpacking", disable=None) as bar:
        install_build(tarball, dest, progress=bar.update)
    print(f"installed {OHIF.spec} in {dest}; start the server and open /samed2d/")


def carry_out(chosen: argparse.Namespace) -> int:
    if installed_build(chosen.dest) == OHIF.spec and not chosen.force:
        print(f"already installed: {OHIF.spec} in {chosen.dest} (again with --force)")
        return 0
    if chosen.from_file is not None:
        if not chosen.from_file.is_file():
            raise NotFoundError(
                got=f"no file {chosen.from_file}", todo=f"make it: npm pack {OHIF.spec}"
            )
        install(chosen.from_file, chosen.dest)
        return 0
    with tempfile.TemporaryDirectory(prefix="samed2d-viewer-") as folder:
        print(f"fetching {OHIF.spec}, {OHIF.size / 1e6:.0f} MB")
        install(fetch(Path(folder)), chosen.dest)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_arguments(arguments)
    return exit_code_of(lambda: carry_out(chosen), "nothing was changed")


if __name__ == "__main__":
    sys.exit(main())
