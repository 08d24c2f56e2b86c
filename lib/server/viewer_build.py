"""The official OHIF build, unpacked from its npm package and made to live under ``/samed2d/``.

The package is a finished site that expects to lie at the root of a server. The places of it that
name that root are rewritten here, and each must be found as often as expected, so that another
build is refused instead of half adapted. What this project never uses stays out.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.errors import CheckpointError
from lib.networks.checkpoint import sha256_of
from lib.training.durable import move_whole

PREFIX = "/samed2d/"
"""Where the server shows the viewer."""
VIEWER_FOLDER = Path(__file__).resolve().parents[2] / "apps" / "samed2d" / "viewer"
"""Configuration and extension of ours; the build is installed beside them."""
BUILD_FOLDER = VIEWER_FOLDER / "ohif"
DONE = "installed.txt"
"""File of an installed build that names package and version; written last."""

_DIST = "package/dist/"
_UNUSED = re.compile(r"(ort|dicom-microscopy-viewer|customizations)/|sw\.js|app-config\.js|_\w+$")
"""Models for the browser, microscopy, a service worker, the demo's configuration, hosting files."""


@dataclass(frozen=True)
class ViewerPackage:
    """One package of the npm registry.

    Attributes:
        name: of the package.
        version: exact.
        sha256: of its tarball.
        size: of the tarball, in bytes.
    """

    name: str
    version: str
    sha256: str
    size: int

    @property
    def spec(self) -> str:
        """As npm takes it: name@version."""
        return f"{self.name}@{self.version}"

    @property
    def url(self) -> str:
        """Address of the tarball."""
        base = self.name.rsplit("/", maxsplit=1)[-1]
        return f"https://registry.npmjs.org/{self.name}/-/{base}-{self.version}.tgz"


OHIF = ViewerPackage(
    "@ohif/app",
    "3.13.2",
    "b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1",
    49_906_651,
)


def installed_build(folder: Path = BUILD_FOLDER) -> str | None:
    """Package and version of the build in a folder; None where there is none, or half of one."""
    try:
        return (folder / DONE).read_text().strip()
    except OSError:
        return None


def install_build(
    tarball: Path,
    folder: Path = BUILD_FOLDER,
    package: ViewerPackage = OHIF,
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Unpack a build and adapt it; what was installed before is replaced at the end.

    Args:
        tarball: of the package.
        folder: where it goes.
        package: which it must be.
        progress: called with the bytes of each unpacked file.

    Raises:
        CheckpointError: another file than the package's, or one that cannot be adapted.
    """
    found = sha256_of(tarball)
    if found != package.sha256:
        raise CheckpointError(
            got=f"{tarball.name} with SHA-256 {found}",
            allowed=f"SHA-256 {package.sha256}, which is {package.spec}",
            todo=f"download it again: npm pack {package.spec}",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".part-{folder.name}-", dir=folder.parent))
    try:
        _unpack(tarball, part, progress)
        adapt(part, PREFIX)
        (part / DONE).write_text(f"{package.spec}\n")
        part.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        move_whole(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def adapt(folder: Path, prefix: str) -> None:
    """Make a build that lies at the root of a server live below ``prefix``.

    Raises:
        CheckpointError: the build is made in another way than the known one.
    """
    page = [folder / "index.html"]
    _replace(page, r'(src|href)="/(?!/)', rf'\1="{prefix}', at_least=3)
    _replace(page, r'PUBLIC_URL\s*=\s*"/"', f'PUBLIC_URL="{prefix}"', at_least=1)
    _replace([folder / "manifest.json"], r'"/(?=assets/)', f'"{prefix}', at_least=1)
    # The page's own bundle and those of its workers load further ones.
    bundles = sorted(folder.glob("*.bundle.*.js"))
    _replace(bundles, r'(__webpack_require__\.p) = "/"', rf'\1 = "{prefix}"', at_least=2)
    _replace(sorted(folder.glob("*.css")), r"url\(/(?!/)", f"url({prefix}", at_least=1)


def _unpack(tarball: Path, target: Path, progress: Callable[[int], None]) -> None:
    with tarfile.open(tarball) as archive:
        for member, name in _wanted(archive):
            member.name = name
            archive.extract(member, target, filter="data")
            progress(member.size)


def _wanted(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """The site's files with their paths in it, and the licence."""
    for member in archive:
        if not member.isfile():
            continue
        if member.name == "package/LICENSE":
            yield member, "LICENSE"
        elif member.name.startswith(_DIST):
            name = member.name.removeprefix(_DIST)
            if not _UNUSED.match(name):
                yield member, name


def _replace(paths: Sequence[Path], pattern: str, by: str, at_least: int) -> None:
    """Replace in some files; raises CheckpointError where there is too little to replace."""
    found = 0
    for path in paths:
        changed, count = re.subn(pattern, by, path.read_text() if path.exists() else "")
        if count:
            path.write_text(changed)
        found += count
    if found < at_least:
        raise CheckpointError(
            got=f"a build in which {pattern} stands {found} times",
            allowed=f"the build of {OHIF.spec}",
            todo="install that version",
        )
