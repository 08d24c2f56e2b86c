"""scripts/doctor.py: each check on made files, and the page as a whole."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from scripts import doctor


def test_packages_as_pinned(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"# why\npytest=={pytest.__version__}  # tests\n")
    (finding,) = doctor.check_packages(requirements)
    assert finding.status == doctor.OK


def test_packages_that_differ(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("pytest==0.0.1\nno-such-package==1.0\n")
    (finding,) = doctor.check_packages(requirements)
    assert finding.status == doctor.MISSING
    assert f"pytest {pytest.__version__}, not 0.0.1" in finding.text
    assert "no-such-package absent, not 1.0" in finding.text


def test_processor_flags(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model\t: x\nflags\t\t: fpu avx2 amx_bf16 avx512_bf16 sse\n")
    (finding,) = doctor.check_processor(tmp_path / "cpuinfo")
    assert "avx2, avx512_bf16, amx_bf16" in finding.text
    (unknown,) = doctor.check_processor(tmp_path / "absent")
    assert unknown.status == doctor.NOTE


@pytest.mark.parametrize(("kilobytes", "status"), [(9 << 20, doctor.OK), (1 << 20, doctor.NOTE)])
def test_memory(tmp_path: Path, kilobytes: int, status: str) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {kilobytes} kB\n")
    (finding,) = doctor.check_memory(tmp_path / "meminfo")
    assert finding.status == status


def test_weights(tmp_path: Path) -> None:
    (missing,) = doctor.check_weights(tmp_path)
    assert missing.status == doctor.MISSING
    (tmp_path / "samed2d_t.safetensors").write_bytes(b"abc")
    (found,) = doctor.check_weights(tmp_path)
    assert found.status == doctor.OK
    assert "SHA-256 ba7816bf8f01..." in found.text


def test_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(doctor, "TEST_PROGRAMS", {"Orthanc": ("/no/such/program", "orthanc")})
    dcmqi, orthanc = doctor.check_programs()
    assert dcmqi.status == doctor.MISSING
    assert orthanc.status == doctor.NOTE  # the server does not need it
    assert "apt-get install orthanc" in orthanc.text


def test_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (busy,) = doctor.check_port("127.0.0.1", taken.getsockname()[1])
    assert busy.status == doctor.NOTE
    (free,) = doctor.check_port("127.0.0.1", 0)
    assert free.status == doctor.OK


@pytest.mark.parametrize(
    ("status", "code"), [(doctor.OK, 0), (doctor.NOTE, 0), (doctor.MISSING, 1)]
)
def test_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str, code: int
) -> None:
    finding = doctor.Finding(status, "something", "found or not")
    monkeypatch.setattr(doctor, "examine", lambda _: [finding])
    assert doctor.main([]) == code
    assert "found or not" in capsys.readouterr().out


def test_page_of_this_computer() -> None:
    findings = doctor.examine(port=0)
    assert all(f.status in (doctor.OK, doctor.NOTE, doctor.MISSING) for f in findings)
    subjects = [f.subject for f in findings]
    assert subjects[0] == "Python"
    assert {"packages", "device", "disk", "weights", "itkimage2segimage"} <= set(subjects)
