"""What the numbers were measured on, as far as it explains them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("torch", "openvino", "nncf", "numpy", "monailabel", "isal")
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16")


@dataclass(frozen=True)
class Machine:
    """A computer and the software that counts.

    Attributes:
        cpu: name of the model.
        cores: processors this process may use.
        cores_of_machine: all processors.
        instructions: sets of instructions that decide how fast bf16 and int8 are.
        memory_gib: main memory; None where the system does not say.
        gpu: name of the first CUDA device, None without one.
        system: operating system.
        python: version.
        versions: package -> version, None where it is not installed.
        torch_threads: threads of this process's torch.
        omp_num_threads: the environment's OMP_NUM_THREADS, which servers inherit.
    """

    cpu: str
    cores: int
    cores_of_machine: int
    instructions: tuple[str, ...]
    memory_gib: float | None
    gpu: str | None
    system: str
    python: str
    versions: dict[str, str | None]
    torch_threads: int
    omp_num_threads: str | None


def describe_machine() -> Machine:
    """Look at this computer."""
    cpu, flags = _processor()
    return Machine(
        cpu=cpu,
        cores=usable_cores(),
        cores_of_machine=os.cpu_count() or 1,
        instructions=tuple(name for name in _INSTRUCTIONS if name in flags),
        memory_gib=_memory(),
        gpu=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        system=platform.platform(),
        python=platform.python_version(),
        versions={name: _version(name) for name in _PACKAGES},
        torch_threads=torch.get_num_threads(),
        omp_num_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def usable_cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wanted_threads() -> int | None:
    """What the environment's OMP_NUM_THREADS says; None where it says nothing usable."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def limit_threads(count: int) -> None:
    """Let this thread, and those that are started from now on, use ``count`` cores.

    OpenVINO does not know torch's setting; where the system can, both are bound to the same cores.
    """
    torch.set_num_threads(count)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> tuple[str, set[str]]:
    """Name and instruction sets; Linux tells both, other systems the name."""
    facts: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    for line in path.read_text().split("\n\n")[0].splitlines() if path.is_file() else ():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    name = facts.get("model name") or platform.processor() or platform.machine()
    return name, set(facts.get("flags", "").split())


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
