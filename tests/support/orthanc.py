"""A real PACS for tests: an Orthanc process with the DICOMweb plugin, on a free loopback port.

```python
with start_orthanc(tmp_path) as pacs:
    pacs.stow(folder)                        # STOW-RS, as a modality or a gateway would
    with start_server(pacs.dicom_web) as server:
        ...
```

Needs the Debian packages ``orthanc`` and ``orthanc-dicomweb``. The server keeps everything in the
given folder, opens no DICOM port, answers the loopback only and ends with the context.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.errors import InvalidDicomError

from tests.support.server import free_port, stop_tree

ORTHANC = Path("/usr/sbin/Orthanc")
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_SECONDS = 60
"""Orthanc needs about a second; the rest is for a machine that is busy with something else."""
LOG_TAIL = 6000


class OrthancStartError(AssertionError):
    """Orthanc is not installed, ended, or stayed silent; the message holds the log's end."""


@dataclass(frozen=True)
class RunningOrthanc:
    """An Orthanc that answers.

    Attributes:
        url: its REST root, without a slash at the end.
        process: the server process.
        log_path: file with its stdout and stderr.
    """

    url: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def dicom_web(self) -> str:
        """The DICOMweb root, as ``--studies`` takes it."""
        return f"{self.url}/dicom-web"

    def client(self) -> DICOMwebClient:
        """A DICOMweb client of its own for this server."""
        return DICOMwebClient(self.dicom_web)

    def stow(self, source: Path | Iterable[Path]) -> str:
        """Push DICOM files with STOW-RS; files that are no DICOM are an error.

        Args:
            source: a folder (every file below it), or the files.

        Returns:
            The StudyInstanceUID of the files; they must share one.
        """
        if isinstance(source, Path):
            files = sorted(path for path in source.rglob("*") if path.is_file())
        else:
            files = list(source)
        datasets = [_read(path) for path in files]
        studies = {str(dataset.StudyInstanceUID) for dataset in datasets}
        if len(studies) != 1 or "" in studies:
            raise ValueError(f"need files of one study, got {len(files)} files of {studies}")
        answer = self.client().store_instances(datasets)
        stored = len(answer.get("ReferencedSOPSequence") or [])
        if stored != len(files):
            raise RuntimeError(f"Orthanc stored {stored} of {len(files)} instances")
        return studies.pop()

    def study_uids(self) -> list[str]:
        """StudyInstanceUIDs in the PACS, sorted."""
        found = self.client().search_for_studies()
        return sorted(str(study["0020000D"]["Value"][0]) for study in found)

    def series_uids(self, modality: str | None = None) -> list[str]:
        """SeriesInstanceUIDs in the PACS, sorted; of one modality where it is named."""
        filters = {"Modality": modality} if modality else {}
        found = self.client().search_for_series(search_filters=filters)
        return sorted(str(series["0020000E"]["Value"][0]) for series in found)

    def log(self) -> str:
        """Everything Orthanc has written so far."""
        return self.log_path.read_text(errors="replace")


def _read(path: Path) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path)
    except InvalidDicomError as error:
        raise ValueError(f"{path} is no DICOM file") from error


def orthanc_configuration(home: Path, port: int) -> dict[str, Any]:
    """Orthanc's settings: HTTP on the loopback only, no DICOM port, storage below ``home``."""
    return {
        "Name": "samed2d tests",
        "StorageDirectory": str(home / "storage"),
        "IndexDirectory": str(home / "storage"),
        "TemporaryDirectory": str(home / "tmp"),
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "SaveJobs": False,
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }


def _check_installed() -> None:
    missing = [str(path) for path in (ORTHANC, DICOMWEB_PLUGIN) if not path.exists()]
    if missing:
        raise OrthancStartError(
            f"not installed: {', '.join(missing)}; "
            "run: apt-get install --no-install-recommends orthanc orthanc-dicomweb"
        )


def _wait_until_ready(pacs: RunningOrthanc, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        code = pacs.process.poll()
        if code is not None:
            raise OrthancStartError(f"Orthanc ended with code {code}:\n{pacs.log()[-LOG_TAIL:]}")
        with contextlib.suppress(requests.RequestException):
            # The plugin's root answers after the core's: both must be there.
            system = requests.get(f"{pacs.url}/system", timeout=10)
            studies = requests.get(f"{pacs.dicom_web}/studies", timeout=10)
            if system.ok and studies.ok:
                return
        time.sleep(0.1)
    raise OrthancStartError(f"no answer within {seconds:.0f} s:\n{pacs.log()[-LOG_TAIL:]}")


@contextlib.contextmanager
def start_orthanc(home: Path, *, port: int | None = None) -> Iterator[RunningOrthanc]:
    """Start Orthanc in ``home``, wait until it answers, give it out, stop it.

    Args:
        home: an existing folder for the configuration, the log and the storage.
        port: HTTP port; a free one where None.

    Raises:
        OrthancStartError: not installed, ended at once, or silent.
    """
    _check_installed()
    port = free_port() if port is None else port
    for name in ("storage", "tmp"):
        (home / name).mkdir(exist_ok=True)
    configuration = home / "orthanc.json"
    configuration.write_text(json.dumps(orthanc_configuration(home, port), indent=2))
    log_path = home / "orthanc.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [str(ORTHANC), str(configuration)],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    pacs = RunningOrthanc(f"http://127.0.0.1:{port}", process, log_path)
    try:
        _wait_until_ready(pacs, START_SECONDS)
        yield pacs
    except OrthancStartError:
        raise
    except BaseException:
        print(f"--- end of Orthanc's log ---\n{pacs.log()[-LOG_TAIL:]}", file=sys.stderr)
        raise
    finally:
        stop_tree(process)
