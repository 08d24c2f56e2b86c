"""Check whether this computer has what samed2d needs, on one page.

Every line says what was found; a line that begins with MISSING also says what to do. Options are
read from the environment (SAMED2D_...), as the server does. Nothing is changed, and nothing is
stored in a PACS. Run it with the Python of the environment:  .venv/bin/python scripts/doctor.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # lib/ lies in the root

from scripts._doctor.finding import MISSING, NOTE, OK, Finding  # noqa: E402

EXIT_CODES = """\
exit codes:
  0  everything that the server needs is there
  1  something that it needs is missing
"""
LOW = " (low)"
GIB = 1 << 30
LOW_MEMORY_GIB = 4
LOW_DISK_GIB = 5
SHA256_SHOWN = 12
PACKAGES_SHOWN = 5
FAST_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")
TEST_PROGRAMS = {
    "Orthanc": ("/usr/sbin/Orthanc", "orthanc"),
    "Orthanc's DICOMweb plugin": (
        "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
        "orthanc-dicomweb",
    ),
    "Chromium": ("/usr/bin/chromium", "chromium"),
}
"""Program -> where the tests look for it, Debian package. The server needs none of them."""


def check_python() -> Iterator[Finding]:
    fits = sys.version_info[:2] == (3, 11)
    yield Finding(
        OK if fits else MISSING,
        "Python",
        f"{platform.python_version()} ({sys.executable})"
        + ("" if fits else "; 3.11 is needed: bash scripts/start.sh makes an environment"),
    )


def read_pins(requirements: Path) -> dict[str, str]:
    """Package -> version of the lines ``package==version``."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", requirements.read_text(), re.MULTILINE))


def check_packages(requirements: Path) -> Iterator[Finding]:
    pins = read_pins(requirements)
    wrong = []
    for package, version in pins.items():
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            found = "absent"
        if found != version:
            wrong.append(f"{package} {found}, not {version}")
    if wrong:
        shown = ", ".join(wrong[:PACKAGES_SHOWN])
        more = f" and {len(wrong) - PACKAGES_SHOWN} more" if len(wrong) > PACKAGES_SHOWN else ""
        todo = f"remove {sys.prefix}/installed-*.lock if it exists and run bash scripts/start.sh"
        yield Finding(MISSING, "packages", f"{shown}{more}; {todo}")
    else:
        yield Finding(OK, "packages", f"all {len(pins)} of {requirements.name}, as pinned")


def check_torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding(MISSING, "torch", f"cannot be imported: {error}")
        return
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        memory = properties.total_memory / GIB
        yield Finding(OK, "device", f"{properties.name}, {memory:.0f} GiB (CUDA)")
    else:
        yield Finding(OK, "device", f"CPU, {torch.get_num_threads()} threads; no CUDA device")


def check_processor(cpu_info: Path = Path("/proc/cpuinfo")) -> Iterator[Finding]:
    if not cpu_info.exists():
        yield Finding(NOTE, "processor", f"{platform.machine()}; its instructions are unknown here")
        return
    match = re.search(r"^flags\s*:(.*)$", cpu_info.read_text(), re.MULTILINE)
    flags = match[1].split() if match else []
    fast = [flag for flag in FAST_CPU_FLAGS if flag in flags]
    text = f"{os.cpu_count()} cores, {', '.join(fast) or 'none of ' + ', '.join(FAST_CPU_FLAGS)}"
    yield Finding(OK, "processor", text)


def check_memory(mem_info: Path = Path("/proc/meminfo")) -> Iterator[Finding]:
    if not mem_info.exists():
        return
    match = re.search(r"^MemAvailable:\s*(\d+) kB", mem_info.read_text(), re.MULTILINE)
    if match:
        free = int(match[1]) * 1024 / GIB
        low = free < LOW_MEMORY_GIB
        yield Finding(NOTE if low else OK, "memory", f"{free:.1f} GiB free{LOW if low else ''}")


def check_disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free / GIB
    low = free < LOW_DISK_GIB
    yield Finding(
        NOTE if low else OK, "disk", f"{free:.0f} GiB free{LOW if low else ''} in {folder}"
    )


def check_weights(folder: Path) -> Iterator[Finding]:
    from lib.errors import CheckpointError
    from lib.networks.checkpoint import sha256_of
    from lib.networks.model_card import card_of

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        todo = "take samed2d_t.safetensors from the repository, or run scripts/get_weights.py"
        yield Finding(MISSING, "weights", f"none in {folder}; {todo}")
    for file in files:
        size = file.stat().st_size / 1e6
        text = f"{file.name}, {size:.0f} MB, SHA-256 {sha256_of(file)[:SHA256_SHOWN]}..."
        try:
            known = "" if card_of(file) is None else ", as its card says"
            yield Finding(OK, "weights", text + known)
        except CheckpointError as error:
            yield Finding(MISSING, "weights", f"{text}: {error.message}")


def check_programs() -> Iterator[Finding]:
    search = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    dcmqi = shutil.which("itkimage2segimage", path=search)
    yield Finding(
        OK if dcmqi else MISSING,
        "itkimage2segimage",
        dcmqi or "comes with the package dcmqi; a PACS cannot be served without it",
    )
    for name, (path, package) in TEST_PROGRAMS.items():
        there = Path(path).exists()
        text = path if there else f"only the tests need it: apt-get install {package}"
        yield Finding(OK if there else NOTE, name, text)


def check_port(host: str, port: int) -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            yield Finding(NOTE, "port", f"{port}: {error.strerror}; a server may be running")
        else:
            yield Finding(OK, "port", f"{port} is free")


def check_options() -> Iterator[Finding]:
    """The options of the environment, and what they name."""
    from lib.errors import OptionError
    from lib.options import parse_options
    from scripts._doctor.folders import check_folders, check_keys

    try:
        options = parse_options()
    except OptionError as error:
        yield Finding(MISSING, "options", error.message)
        return
    yield from check_folders(options)
    yield from check_keys(options)


def check_studies(studies: str | None) -> Iterator[Finding]:
    """What --studies will name: a folder, or a PACS."""
    if studies is None:
        return
    if studies.startswith(("http://", "https://")):
        from scripts._doctor.pacs import check_pacs

        yield from check_pacs(studies)
    elif Path(studies).is_dir() and os.access(studies, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(OK, "studies", f"{studies} can be read and written")
    else:
        todo = "name a folder that the server may read and write, or an address of DICOMweb"
        yield Finding(MISSING, "studies", f"{studies}; {todo}")


def examine(port: int, studies: str | None = None) -> list[Finding]:
    """All findings, in the order of the page. Weights need torch, so its absence ends them."""
    findings = [*check_python(), *check_packages(ROOT / "requirements.txt"), *check_torch()]
    findings += [*check_processor(), *check_memory(), *check_disk(ROOT)]
    if not any(f.subject == "torch" for f in findings):
        findings += check_weights(ROOT / "apps" / "samed2d" / "weights")
        findings += check_options()
    findings += [*check_programs(), *check_studies(studies)]
    return [*findings, *check_port("127.0.0.1", port)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8000, help="port the server shall listen on")
    parser.add_argument("--studies", help="folder of images or DICOMweb address to be served")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    asked = parser.parse_args(arguments)
    findings = examine(asked.port, asked.studies)
    if asked.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.status:8}{finding.subject:26}{finding.text}")
    return int(any(finding.status == MISSING for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
