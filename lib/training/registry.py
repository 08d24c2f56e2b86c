"""Published versions of a network, and which of them serves.

```
<registry>/samed2d_t-0123456789ab/     one folder for each architecture and base weight file
    serving.json                       which version serves (`lib.training.pointer`)
    v0001/manifest.json                what it is (`lib.training.manifest`)
    v0001/weights.safetensors          the tensors that differ from the base
    v0001/report.html, ...             what was published along
    lock
```

Concurrency contract. Several processes share these folders. Writers (publish, roll back, prune)
exclude each other by a lock on ``lock``, which the system releases when its owner ends, however it
ends. Readers never lock: a version appears by one rename after all of it is on the disk, the
pointer is replaced by one rename after that, and a version's files never change. What a killed
writer leaves behind begins with ".part-", is seen by nobody and removed by the next writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from lib.errors import CheckpointError, NotFoundError, TrainingError
from lib.networks.checkpoint import save_weights, sha256_of
from lib.networks.encoder_network import Encodes
from lib.networks.weights import build_network, version_name
from lib.options import AppOptions
from lib.training import manifest as manifests
from lib.training.code_version import code_version
from lib.training.difference import Difference, compare_tensors
from lib.training.durable import move_whole
from lib.training.manifest import BASE, Manifest, VersionFacts, read_manifest
from lib.training.pointer import Pointer, parse_pointer, pointer_bytes, write_pointer
from lib.training.version import WEIGHTS, Version, apply_version, changed_tensors, encoder_digest

__all__ = [
    "BASE",
    "Manifest",
    "Registry",
    "Version",
    "VersionFacts",
    "apply_version",
    "default_registry",
    "registry_folder",
]

PART = ".part-"
ENVIRONMENT = "SAMED2D_REGISTRY"
_APP_FOLDER = Path(__file__).resolve().parents[2] / "apps" / "samed2d" / "model"
_NAME = re.compile(r"v\d{4,}")

logger = logging.getLogger(__name__)


def default_registry() -> Path:
    """Folder of all registries for scripts: that of a server started in the same environment."""
    named = os.environ.get(ENVIRONMENT, "").strip()
    return Path(named).expanduser() if named else _APP_FOLDER


def registry_folder(options: AppOptions) -> Path:
    """Folder of all registries of a server; the default one is ignored by git."""
    return options.registry or _APP_FOLDER


class Registry:
    """The versions of one network over one base weight file.

    Args:
        folder: of all registries.
        architecture: of the network.
        base: weight file; another file has another registry.
    """

    def __init__(self, folder: Path, architecture: str, base: Path) -> None:
        self._root = folder
        self.architecture = architecture
        self.base = base

    @cached_property
    def base_sha256(self) -> str:
        """Of the base weight file.

        Raises:
            CheckpointError: there is none.
        """
        try:
            return sha256_of(self.base)
        except OSError as error:
            raise CheckpointError(
                got=f"no weight file at {self.base} ({error})",
                todo="run scripts/get_weights.py, or correct the path",
            ) from error

    @cached_property
    def base_version(self) -> str:
        """Architecture and base weights in one word.

        Raises:
            CheckpointError: there is no base file.
        """
        return version_name(self.architecture, self.base_sha256)

    @property
    def folder(self) -> Path:
        """Of this registry; made by whoever first writes into it."""
        return self._root / self.base_version

    def versions(self) -> tuple[Version, ...]:
        """All versions with a sound manifest, oldest first. Weights are not looked at."""
        found = []
        for name in self._names():
            try:
                found.append(self._open(name))
            except CheckpointError as error:
                logger.warning("passed over: %s", error.message)
        return tuple(found)

    def find(self, name: str) -> Version:
        """A version by its name.

        Raises:
            NotFoundError: there is none.
            CheckpointError: its manifest is damaged.
        """
        if name not in self._names():
            raise NotFoundError(
                got=f"version {name[:64]!r}",
                allowed=", ".join([BASE, *self._names()]),
                todo="choose one of these",
            )
        return self._open(name)

    def serving(self) -> Version | None:
        """What serves; None for the base weights. A damaged version is passed over and logged."""
        while True:
            data = pointer_bytes(self.folder)
            line = parse_pointer(data).line
            version = self._first_sound(line)
            as_told = version.name == line[0] if version is not None else not line
            # Else it may have been pruned meanwhile, and the pointer names another one by now.
            if as_told or pointer_bytes(self.folder) == data:
                return version

    def wanted(self) -> str:
        """Name of what was chosen to serve, damaged or not; "base" for the base weights."""
        line = parse_pointer(pointer_bytes(self.folder)).line
        return line[0] if line else BASE

    def stamp(self) -> Hashable:
        """Cheap; another one when `serving` may have another answer."""
        return pointer_bytes(self.folder)

    def publish(
        self,
        model: Encodes,
        facts: VersionFacts,
        serve: bool = True,
        attachments: Mapping[str, Path] | None = None,
    ) -> Version:
        """Add a version: all of it, or nothing.

        Args:
            model: what was trained; its tensors that differ from the base are kept.
            facts: what is known of it.
            serve: have it served from now on.
            attachments: file name -> file that is copied along, such as a report.

        Raises:
            TrainingError: the disk does not take it; whatever served goes on serving.
            CheckpointError: a base file that does not fit.
            ValueError: an attachment with the name of one of the version's own files, or a path.
        """
        attachments = attachments or {}
        for name in attachments:
            if name in (WEIGHTS, manifests.FILE) or name.startswith(".") or Path(name).name != name:
                raise ValueError(f"an attachment {name!r}, which is no plain name of its own")
        tensors = changed_tensors(model, self.base)
        with self._writing("publish a version"):
            with tempfile.TemporaryDirectory(prefix=PART, dir=self.folder) as outer:
                part = Path(outer, "version")
                part.mkdir()
                for name, path in attachments.items():
                    shutil.copyfile(path, part / name)
                save_file(tensors, part / WEIGHTS)
                # safetensors lets only the writer read it; a server often is another user.
                (part / WEIGHTS).chmod(0o644)
                manifest = self._manifest(facts, part / WEIGHTS, encoder_digest(tensors))
                (part / manifests.FILE).write_text(manifest.to_json(), encoding="utf-8")
                move_whole(part, self.folder / manifest.name)
            version = self._open(manifest.name)
            if serve:
                self._point(version)
        logger.info("published %s, %d tensors", version.model_version, len(tensors))
        return version

    def roll_back(self, name: str | None = None) -> Version | None:
        """Have another version served.

        Args:
            name: of it, "base" for the base weights; None for the one that served before the
                present one.

        Returns:
            What serves now; None for the base weights.

        Raises:
            NotFoundError: no such version, or nothing before the base weights.
            CheckpointError: it is damaged; whatever served goes on serving.
            TrainingError: the disk does not take it.
        """
        with self._writing("roll back"):
            version = self._before() if name is None else self._usable(name)
            self._point(version)
        logger.info("serving from now on: %s", version.model_version if version else BASE)
        return version

    def prune(self, keep: int) -> tuple[str, ...]:
        """Remove the oldest versions.

        Args:
            keep: so many of the newest stay, 1 or more; what serves stays as well.

        Returns:
            Names of those removed.

        Raises:
            ValueError: ``keep`` below 1.
            TrainingError: the disk does not allow it.
        """
        if keep < 1:
            raise ValueError(f"keep = {keep}, not 1 or more")
        with self._writing("prune"):
            serving = self.serving()
            stay = {*self._names()[-keep:], *([serving.name] if serving else [])}
            gone = tuple(name for name in self._names() if name not in stay)
            for name in gone:
                # Renamed first: a version is never seen with some of its files only.
                with tempfile.TemporaryDirectory(prefix=PART, dir=self.folder) as part:
                    (self.folder / name).rename(Path(part, name))
        return gone

    def export(self, name: str, path: Path) -> None:
        """Write base and version together as one weight file.

        Args:
            name: of the version, or "base".
            path: of the new file, ends in ".safetensors".

        Raises:
            NotFoundError: no such version.
            CheckpointError: it is damaged.
            TrainingError: the disk does not take the file.
        """
        model, version = self._build(name)
        told = {"architecture": self.architecture, "base_sha256": self.base_sha256}
        if version is not None:
            told |= {"version": version.model_version, "created": version.manifest.created}
        try:
            save_weights(model, path, metadata=told)
        except (OSError, SafetensorError) as error:
            raise _refused("write a weight file", path, error) from error

    def diff(self, a: str, b: str) -> tuple[Difference, ...]:
        """How the tensors of version ``b`` differ from those of ``a``, part by part.

        Raises:
            NotFoundError: no such version ("base" is one).
            CheckpointError: one is damaged.
        """
        return compare_tensors(self._build(a)[0].state_dict(), self._build(b)[0].state_dict())

    def _build(self, name: str) -> tuple[Encodes, Version | None]:
        version = None if name == BASE else self.find(name)
        model = build_network(self.architecture, self.base)
        if version is not None:
            apply_version(model, version)
        return model, version

    def _names(self) -> list[str]:
        """Names of all folders of versions, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda name: int(name[1:]))

    def _open(self, name: str) -> Version:
        manifest = read_manifest(self.folder / name)
        if manifest.name != name or manifest.base_sha256 != self.base_sha256:
            raise CheckpointError(
                got=f"version {name} with a manifest of {manifest.name} over another base or name",
                allowed=f"its own, over the base weights {self.base_version}",
                todo="remove the folder: it was not made by publishing",
            )
        return Version(name, self.folder / name, manifest, self.base_version)

    def _first_sound(self, line: tuple[str, ...]) -> Version | None:
        """The first version that can be used; None where none can."""
        for name in line:
            try:
                version = self._open(name)
                version.read()
                return version
            except CheckpointError as error:
                logger.error("not served: %s", error.message)
        return None

    def _usable(self, name: str) -> Version | None:
        """A version whose weights are sound; None for the base weights."""
        if name == BASE:
            return None
        version = self.find(name)
        version.tensors()
        return version

    def _before(self) -> Version | None:
        """The nearest usable ancestor of what serves."""
        serving = self.serving()
        if serving is None:
            raise NotFoundError(
                got="base weights, before which nothing served",
                allowed="a version to go back from",
                todo="name the version that is to serve",
            )
        for name in serving.manifest.ancestors:
            with contextlib.suppress(CheckpointError, NotFoundError):
                return self._usable(name)
        return None

    def _manifest(self, facts: VersionFacts, weights: Path, encoder: str) -> Manifest:
        names = self._names()
        parent = self.serving()
        return Manifest(
            name=f"v{int(names[-1][1:]) + 1 if names else 1:04d}",
            architecture=self.architecture,
            base_sha256=self.base_sha256,
            ancestors=() if parent is None else (parent.name, *parent.manifest.ancestors),
            created=_now(),
            code_version=code_version(),
            weights_sha256=sha256_of(weights),
            weights_bytes=weights.stat().st_size,
            encoder_sha256=encoder,
            **vars(facts),
        )

    def _point(self, version: Version | None) -> None:
        line = () if version is None else (version.name, *version.manifest.ancestors)
        write_pointer(self.folder, Pointer(line, _now()))

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Keep other writers away, clear what a killed one left, and name the disk's errors."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._clear()
                yield
        except (OSError, SafetensorError) as error:
            raise _refused(what, self.folder, error) from error

    def _clear(self) -> None:
        for path in self.folder.glob(f"{PART}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _refused(what: str, where: Path, error: Exception) -> TrainingError:
    return TrainingError(
        got=f"a disk that did not let us {what} in {where} ({error})",
        allowed="a folder that can be written to, with room in it",
        todo="make room or correct the permissions; what served goes on serving",
    )
