"""A tarball with the parts of OHIF's npm package that matter, small enough to make here."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from lib.networks.checkpoint import sha256_of
from lib.server.viewer_build import ViewerPackage

FILES = {
    "package/LICENSE": "MIT",
    "package/package.json": "{}",
    "package/dist/index.html": '<script>window.PUBLIC_URL="/"</script>'
    '<link href="/app.bundle.css"><script src="/app-config.js"></script>'
    '<script src="/app.bundle.0123456789abcdef.js"></script><a href="//elsewhere">',
    "package/dist/app.bundle.0123456789abcdef.js": '__webpack_require__.p = "/";',
    "package/dist/worker.bundle.fedcba9876543210.js": '__webpack_require__.p = "/";',
    "package/dist/app.bundle.css": "src: url(/font.woff2)",
    "package/dist/manifest.json": '{"src": "/assets/icon.png"}',
    "package/dist/assets/icon.png": "picture",
    "package/dist/ort/model.wasm": "not wanted",
    "package/dist/sw.js": "not wanted",
    "package/dist/app-config.js": "not wanted",
}


def write_package(path: Path, files: dict[str, str] | None = None) -> ViewerPackage:
    """Write the tarball; returns what `install_build` must be told to take it."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (FILES if files is None else files).items():
            data = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return ViewerPackage("@ohif/app", "0.0.1", sha256_of(path), path.stat().st_size)
