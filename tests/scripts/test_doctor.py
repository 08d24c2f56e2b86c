"""scripts/doctor.py: each check on made files, and the page as a whole."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib.options import AppOptions
from lib.server.api_keys import add_user
from lib.server.roles import Role
from scripts import doctor
from scripts._doctor.folders import check_folders, check_keys
from scripts._doctor.pacs import check_pacs


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
    monkeypatch.setattr(doctor, "examine", lambda *_: [finding])
    assert doctor.main([]) == code
    assert "found or not" in capsys.readouterr().out
    assert doctor.main(["--json"]) == code
    assert json.loads(capsys.readouterr().out) == [
        {"status": status, "subject": "something", "text": "found or not"}
    ]


def test_page_of_this_computer() -> None:
    findings = doctor.examine(port=0)
    assert all(f.status in (doctor.OK, doctor.NOTE, doctor.MISSING) for f in findings)
    subjects = [f.subject for f in findings]
    assert subjects[0] == "Python"
    assert {"packages", "device", "disk", "weights", "itkimage2segimage"} <= set(subjects)


def test_weights_that_are_not_those_of_their_card(tmp_path: Path) -> None:
    weights = doctor.ROOT / "apps" / "samed2d" / "weights"
    (good,) = [f for f in doctor.check_weights(weights) if "samed2d_t.safe" in f.text]
    assert good.status == doctor.OK
    assert "as its card says" in good.text
    shutil.copy(weights / "samed2d_t.card.json", tmp_path)
    (tmp_path / "samed2d_t.safetensors").write_bytes(b"other")
    (bad,) = doctor.check_weights(tmp_path)
    assert bad.status == doctor.MISSING


def test_folders(tmp_path: Path) -> None:
    good = AppOptions(
        cache_dir=tmp_path / "not yet" / "there",
        journal=tmp_path / "journal",
        registry=tmp_path,
        audit_log=tmp_path / "audit.log",
    )
    assert {finding.status for finding in check_folders(good)} == {doctor.OK}
    (tmp_path / "file").touch()
    bad = AppOptions(
        cache_dir=tmp_path / "file" / "cache",
        journal=tmp_path / "journal",
        registry=tmp_path,
        audit_log=tmp_path / "audit.log",
    )
    first, *others = check_folders(bad)
    assert first.status == doctor.MISSING
    assert "is no folder" in first.text
    assert {finding.status for finding in others} == {doctor.OK}
    (tmp_path / "journal").mkdir(mode=0o755)
    (tmp_path / "journal").chmod(0o755)
    assert [f.status for f in check_folders(good)][-1] == doctor.NOTE


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))
    (none,) = check_keys(AppOptions())
    assert none.status == doctor.NOTE
    path = tmp_path / "keys.json"
    add_user(path, "anna", Role.ADMIN)
    (some,) = check_keys(AppOptions(api_keys=path))
    assert some.status == doctor.OK
    assert "1 of them administrators" in some.text
    path.chmod(0o644)
    (open_,) = check_keys(AppOptions(api_keys=path))
    assert open_.status == doctor.MISSING
    assert "chmod 600" in open_.text


SERIES = [{"0020000D": {"Value": ["1.2"]}, "0020000E": {"Value": ["3.4"]}}]
METADATA = [{"00080018": {"Value": ["5.6"]}}]


@pytest.mark.parametrize(
    ("answers", "statuses", "words"),
    [
        ({"/series": (200, SERIES), "/metadata": (200, METADATA)}, ["ok", "ok"], "can be had"),
        ({"/series": (200, [])}, ["note"], "no series"),
        ({"/series": (204, None)}, ["note"], "no series"),
        ({"/series": (401, {})}, ["MISSING"], "MONAI_LABEL_DICOMWEB_USERNAME"),
        ({"/series": (404, {})}, ["MISSING"], "/dicom-web"),
        ({"/series": (200, {"a": 1})}, ["MISSING"], "DICOM JSON"),
        ({"/series": (302, [])}, ["MISSING"], "DICOM JSON"),
        ({"/series": (200, SERIES), "/metadata": (500, {})}, ["ok", "MISSING"], "status 500"),
        ({"/series": (200, SERIES), "/metadata": (200, [])}, ["ok", "MISSING"], "no metadata"),
        ({"/series": (200, [{}])}, ["ok", "MISSING"], "0020000D"),
    ],
)
def test_a_pacs(answers: dict[str, tuple[int, object]], statuses: list[str], words: str) -> None:
    class Pacs(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = next(
                answer for end, answer in answers.items() if self.path.split("?")[0].endswith(end)
            )
            self.send_response(status)
            self.end_headers()
            if content is not None:
                self.wfile.write(json.dumps(content).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pacs)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        findings = list(check_pacs(f"http://127.0.0.1:{server.server_address[1]}/dicom-web/"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [finding.status for finding in findings] == statuses
    assert words in findings[-1].text


def test_a_pacs_that_does_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (finding,) = check_pacs(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert finding.status == doctor.MISSING
    assert "nothing answers" in finding.text


def test_a_folder_of_studies(tmp_path: Path) -> None:
    (good,) = doctor.check_studies(str(tmp_path))
    assert good.status == doctor.OK
    (bad,) = doctor.check_studies(str(tmp_path / "absent"))
    assert bad.status == doctor.MISSING
    assert list(doctor.check_studies(None)) == []


def test_an_option_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMED2D_LABLES", "liver")
    (finding,) = doctor.check_options()
    assert finding.status == doctor.MISSING
    assert "SAMED2D" not in finding.text and "lables" in finding.text
