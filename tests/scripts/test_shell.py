"""The shell scripts, driven for real against a stand-in for Python that only notes its calls.

Nothing is installed: a copy of the scripts runs in a folder of its own, and the ``python3.11`` it
finds is the script below. What the real installation does is seen by starting it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = (".ci/run", "requirements.lock", "requirements-dev.lock")

PYTHON = r"""#!/bin/bash
# Notes what it is asked to do; makes environments that hold a copy of itself.
printf '%s\n' "$*" >>"$CALLS"
case "$*" in
*--version*) echo "Python 3.11.0" ;;
"-I -m venv "*)
    mkdir -p "$4/bin"
    cp "$0" "$4/bin/python"
    touch "$4/pyvenv.cfg"
    ;;
*" config get "*) exit 1 ;;
*"/scripts/installer.lock"*) [[ ! -e "$CALLS.no-uv" ]] || exit 1
    printf '#!/bin/bash\nprintf "uv %%s\\n" "$*" >>"$CALLS"\n[[ ! -e "$CALLS.fail" ]]\n' \
        >"${0%/*}/uv"
    chmod +x "${0%/*}/uv" ;;
*" install "*) [[ ! -e "$CALLS.fail" ]] ;;
*"monailabel.main"*) printf '<%s>\n' "$@"; env | grep -E '^(MONAI|PYTHON|PATH)' ;;
"-m ruff format"*) [[ ! -e "$CALLS.badly-formatted" ]] ;;
"-m pytest"*) printf '<%s>\n' "$@"; env | grep ^OMP; echo "3 passed in 0.01s" ;;
esac
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the scripts and the stand-in for Python.

    Attributes:
        root: the copy's root; its path has a space.
        calls: file with one line for each call of the stand-in.
        environment: variables for the scripts.
    """

    root: Path
    calls: Path
    environment: dict[str, str]

    def run(
        self, script: str, *arguments: str, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return subprocess.run(
            ["bash", str(self.root / script), *arguments],
            cwd=cwd or self.root,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def installed(self) -> list[str]:
        """The calls that install packages from a file, since the last question."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [line for line in lines if "--no-build-isolation" in line]

    def let(self, what: str) -> None:
        """Make the stand-in behave: fail, no-uv, badly-formatted."""
        Path(f"{self.calls}.{what}").touch()

    def let_not(self, what: str) -> None:
        """Take `let` back."""
        Path(f"{self.calls}.{what}").unlink()


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("*.pyc"))
    (root / ".ci").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, root / name)
    (root / "sample-data" / "studies").mkdir(parents=True)
    programs = tmp_path / "programs"
    for name in ("python3.11", "python3", "python"):
        write_program(programs / name, PYTHON)
    for name in ("shellcheck", "npm"):
        write_program(programs / name, "#!/bin/bash\n")
    calls = tmp_path / "calls"
    environment = {
        "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path / "home"),
        "CALLS": str(calls),
    }
    return Checkout(root, calls, environment)


def arguments_of(output: str) -> list[str]:
    """What the stand-in printed as the arguments of the last program."""
    return [line[1:-1] for line in output.splitlines() if line.startswith("<")]


def variables_of(output: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


# --- start.sh


def test_start_serves_the_sample_study_by_default(checkout: Checkout) -> None:
    done = checkout.run("scripts/start.sh")
    assert done.returncode == 0, done.stderr
    assert arguments_of(done.stdout) == [
        "-m",
        "monailabel.main",
        "start_server",
        "--app",
        f"{checkout.root}/apps/samed2d",
        "--studies",
        f"{checkout.root}/sample-data/studies",
        "--host",
        "127.0.0.1",
        "--port",
        "8000",
    ]


def test_start_hands_arguments_on_unbroken(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "my scans").mkdir()
    done = checkout.run(
        "scripts/start.sh",
        *("--studies", "my scans", "--port=8123", "-i", "localhost"),
        *("--conf", "labels", "liver,left kidney", "--log_level", "debug"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert arguments_of(done.stdout)[5:] == [
        *("--studies", f"{tmp_path}/my scans", "--host", "localhost", "--port", "8123"),
        *("--conf", "labels", "liver,left kidney", "--log_level", "debug"),
    ]


def test_start_with_a_pacs(checkout: Checkout) -> None:
    done = checkout.run("scripts/start.sh", "-s", "https://pacs.example/dicom-web")
    assert "https://pacs.example/dicom-web" in arguments_of(done.stdout)


def test_start_prepares_the_environment_of_the_host(checkout: Checkout) -> None:
    done = checkout.run(
        "scripts/start.sh", PYTHONDONTWRITEBYTECODE="1", MONAI_LABEL_TRACKING_ENABLED="true"
    )
    seen = variables_of(done.stdout)
    assert seen["MONAI_LABEL_DICOMWEB_CACHE_EXPIRY"] == "1"
    assert seen["MONAI_LABEL_AUTO_UPDATE_SCORING"] == "false"
    assert seen["MONAI_LABEL_TRACKING_ENABLED"] == "true"  # a choice of the user stays
    assert seen["PATH"].startswith(f"{checkout.root}/.venv/bin:")
    assert seen["PYTHONPATH"] == str(checkout.root)
    assert seen["PYTHONSAFEPATH"] == "1"
    assert "PYTHONDONTWRITEBYTECODE" not in seen


@pytest.mark.parametrize("script", ["scripts/start.sh", "scripts/test.sh"])
def test_help_installs_nothing(checkout: Checkout, script: str) -> None:
    done = checkout.run(script, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: bash {script}")
    assert not checkout.calls.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "0"], "--port 0 is not a port. Allowed: 1 to 65535."),
        (["--port", "65536"], "Allowed: 1 to 65535."),
        (["--port", "http"], "--port http is not a port."),
        (["--port"], "--port needs a value"),
        (["--studies", "no such folder"], "no such folder is not a folder."),
        (["--studies", "pacs.example"], "begins with http://"),
        (["--app", "other"], "this command serves apps/samed2d"),
    ],
)
def test_wrong_options_are_said_before_anything_is_installed(
    checkout: Checkout, arguments: list[str], sentence: str
) -> None:
    done = checkout.run("scripts/start.sh", *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_python_that_does_not_exist(checkout: Checkout) -> None:
    done = checkout.run("scripts/start.sh", PYTHON="/no/such/python")
    assert done.returncode == 1
    assert "PYTHON=/no/such/python is not a Python 3.11" in done.stderr


def test_python_of_another_version(checkout: Checkout, tmp_path: Path) -> None:
    write_program(tmp_path / "python3.9", "#!/bin/bash\nexit 1\n")
    done = checkout.run("scripts/start.sh", PYTHON=str(tmp_path / "python3.9"))
    assert done.returncode == 1
    assert "is not a Python 3.11" in done.stderr


@pytest.mark.parametrize("busy", [True, False])
def test_port(checkout: Checkout, tmp_path: Path, busy: bool) -> None:
    # The real Python, for the sockets; an address of nobody ends the other case early, too.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        host = "127.0.0.1" if busy else "192.0.2.1"
        options = ("--host", host, "--port", port)
        signed_in = {"MONAI_LABEL_AUTH_ENABLE": "true"}
        done = checkout.run("scripts/start.sh", *options, PYTHON=sys.executable, **signed_in)
    assert done.returncode == 1
    assert f"cannot listen on {host}, port {port}" in done.stderr
    assert "choose another with --port" in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_other_computers_are_let_in_only_with_keys(checkout: Checkout, tmp_path: Path) -> None:
    refused = checkout.run("scripts/start.sh", "--host", "0.0.0.0")
    assert refused.returncode == 1
    assert "scripts/users.py add NAME" in refused.stderr
    assert not (checkout.root / ".venv").exists()
    keys = tmp_path / "my keys.json"
    named = ("--host", "0.0.0.0", "--conf", "api_keys", str(keys))
    assert checkout.run("scripts/start.sh", *named).returncode == 1
    keys.write_text("{}")
    done = checkout.run("scripts/start.sh", *named)
    assert done.returncode == 0, done.stderr
    assert arguments_of(done.stdout)[-3:] == ["--conf", "api_keys", str(keys)]
    for variables in ({"SAMED2D_API_KEYS": str(keys)}, {"MONAI_LABEL_AUTH_ENABLE": "true"}):
        assert checkout.run("scripts/start.sh", "-i", "0.0.0.0", **variables).returncode == 0
    default = tmp_path / "home" / ".config" / "samed2d" / "api-keys.json"
    default.parent.mkdir(parents=True)
    keys.rename(default)
    assert checkout.run("scripts/start.sh", "--host=0.0.0.0").returncode == 0


# --- The environment


def test_installs_once(checkout: Checkout) -> None:
    first = checkout.run("scripts/start.sh")
    assert "installing the packages of requirements.lock" in first.stderr
    (others, everything) = checkout.installed()
    assert others.startswith("uv pip install")
    assert everything.endswith(f"--requirement {checkout.root}/requirements.lock")
    second = checkout.run("scripts/start.sh")
    assert second.returncode == 0
    assert "installing" not in second.stderr
    assert checkout.installed() == []


def test_what_needs_torch_is_built_after_it(checkout: Checkout) -> None:
    checkout.run("scripts/start.sh")
    first = (checkout.root / ".venv" / ".first-requirements.txt").read_text().splitlines()
    everything = (checkout.root / "requirements.lock").read_text().splitlines()
    later = [line for line in everything if line not in first and not line.startswith("#")]
    assert later[0].split() == ["sam2==1.1.0", "\\"]
    assert all(line.startswith("    --hash=sha256:") for line in later[1:])


def test_nothing_is_installed_whose_hash_is_not_known(checkout: Checkout) -> None:
    for missing in ("", "no-uv"):
        if missing:
            checkout.let(missing)
        shutil.rmtree(checkout.root / ".venv", ignore_errors=True)
        checkout.run("scripts/start.sh")
        calls = checkout.calls.read_text().splitlines()
        installing = [call for call in calls if re.search(r"\binstall\b", call)]
        assert len(installing) >= 3
        assert all("--require-hashes" in call and "--no-deps" in call for call in installing)
        builder = (checkout.root / ".venv" / ".builder-requirements.txt").read_text()
        assert re.match(r"setuptools==[\d.]+ \\\n    --hash=sha256:", builder)


def test_changed_requirements_are_installed(checkout: Checkout) -> None:
    checkout.run("scripts/start.sh")
    checkout.installed()
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write("new-package==1.0\n")
    checkout.run("scripts/start.sh")
    assert len(checkout.installed()) == 2


def test_tests_need_more_than_the_server(checkout: Checkout) -> None:
    checkout.run("scripts/start.sh")
    checkout.installed()
    checkout.run("scripts/test.sh", "tests")
    assert checkout.installed()[-1].endswith("requirements-dev.lock")
    checkout.run("scripts/start.sh")
    assert checkout.installed() == []


def test_interrupted_installation_goes_on(checkout: Checkout) -> None:
    checkout.let("fail")
    failed = checkout.run("scripts/start.sh")
    assert failed.returncode == 1
    assert "The installation failed" in failed.stderr
    assert "starting the server" not in failed.stderr
    checkout.let_not("fail")
    checkout.installed()
    done = checkout.run("scripts/start.sh")
    assert done.returncode == 0
    assert "making a virtual environment" not in done.stderr
    assert len(checkout.installed()) == 2


def test_pip_where_uv_is_not_to_be_had(checkout: Checkout) -> None:
    checkout.let("no-uv")
    done = checkout.run("scripts/start.sh")
    assert done.returncode == 0
    assert "pip takes its place" in done.stderr
    assert all("-I -m pip" in call for call in checkout.installed())


def test_another_place(checkout: Checkout, tmp_path: Path) -> None:
    done = checkout.run("scripts/start.sh", SAMED2D_VENV="an environment", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "an environment" / "installed-requirements.lock").exists()
    assert not (checkout.root / ".venv").exists()


def test_moved_environment_is_made_anew(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run("scripts/start.sh", SAMED2D_VENV=str(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    done = checkout.run("scripts/start.sh", SAMED2D_VENV=str(tmp_path / "new"))
    assert "making a virtual environment" in done.stderr


def test_folder_of_other_things_is_left_alone(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").write_text("dear")
    done = checkout.run("scripts/start.sh", SAMED2D_VENV=str(tmp_path / "documents"))
    assert done.returncode == 1
    assert "holds other things" in done.stderr
    assert [p.name for p in (tmp_path / "documents").iterdir()] == ["letter.txt"]


def test_broken_environment_of_somebody_else_is_left_alone(
    checkout: Checkout, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "pyvenv.cfg").write_text("home = /somewhere\n")
    done = checkout.run("scripts/start.sh", SAMED2D_VENV=str(tmp_path / "theirs"))
    assert done.returncode == 1
    assert "was not made by this command" in done.stderr
    assert (tmp_path / "theirs" / "pyvenv.cfg").exists()


def test_two_at_once_wait_for_each_other(checkout: Checkout) -> None:
    environment = checkout.root / ".venv"
    environment.mkdir()
    with (environment / ".samed2d").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = subprocess.Popen(
            ["bash", str(checkout.root / "scripts/start.sh")],
            env=checkout.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert started.stderr is not None
        assert "another installation" in started.stderr.readline()
        assert checkout.installed() == []
    rest = started.communicate()[1]
    assert started.returncode == 0, rest
    assert "installed in" in rest


# --- test.sh and .ci/run


def test_all_checks_run_although_one_fails(checkout: Checkout) -> None:
    checkout.let("badly-formatted")
    done = checkout.run("scripts/test.sh", "tests/imaging", "-k", "a or b")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("failed: format")
    assert arguments_of(done.stdout) == ["-m", "pytest", "tests/imaging", "-k", "a or b"]
    calls = checkout.calls.read_text()
    assert "-m ruff check" in calls
    assert "-m mypy" in calls


def test_checks_that_pass(checkout: Checkout) -> None:
    done = checkout.run("scripts/test.sh", "tests")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("cores", "variables", "workers", "threads"),
    [
        (1, {}, "1", "1"),
        (2, {}, "2", "1"),
        (2, {"OMP_NUM_THREADS": "2"}, "2", "2"),
        (9, {}, "4", "2"),
    ],
)
def test_workers_share_the_cores(
    checkout: Checkout,
    tmp_path: Path,
    cores: int,
    variables: dict[str, str],
    workers: str,
    threads: str,
) -> None:
    # As the real one does, it takes the number of threads for that of the cores.
    nproc = f'#!/bin/bash\necho "${{OMP_NUM_THREADS:-{cores}}}"\n'
    write_program(tmp_path / "programs" / "nproc", nproc)
    done = checkout.run("scripts/test.sh", **variables)
    assert done.returncode == 0, done.stderr
    assert arguments_of(done.stdout)[:4] == ["-m", "pytest", "--numprocesses", workers]
    assert variables_of(done.stdout)["OMP_NUM_THREADS"] == threads


def test_named_tests_run_in_one_process(checkout: Checkout) -> None:
    done = checkout.run("scripts/test.sh", "--install-system", "tests/imaging", OMP_NUM_THREADS="7")
    assert arguments_of(done.stdout) == ["-m", "pytest", "tests/imaging"]
    assert variables_of(done.stdout)["OMP_NUM_THREADS"] == "7"


def remove_program(checkout: Checkout, path: str) -> None:
    script = checkout.root / "scripts" / "test.sh"
    assert path in script.read_text()
    script.write_text(script.read_text().replace(path, "/no/such/program"))


def test_missing_program_is_a_failure(checkout: Checkout) -> None:
    remove_program(checkout, "/usr/bin/chromium")
    done = checkout.run("scripts/test.sh")
    assert done.returncode == 1
    assert "--install-system" in done.stderr
    assert "chromium" in done.stderr
    assert not checkout.calls.exists()


def test_missing_program_is_installed(checkout: Checkout, tmp_path: Path) -> None:
    remove_program(checkout, "/usr/bin/chromium")
    apt_get = '#!/bin/bash\necho "apt-get $*" >>"$CALLS"\n'
    write_program(tmp_path / "programs" / "apt-get", apt_get)
    write_program(tmp_path / "programs" / "sudo", '#!/bin/bash\n"$@"\n')
    done = checkout.run("scripts/test.sh", "--install-system")
    calls = checkout.calls.read_text().splitlines()
    assert calls[0] == "apt-get update -qq"
    assert calls[1].endswith(" chromium")
    assert done.returncode == 1  # this apt-get installs nothing, and that is noticed
    assert "programs that are missing" in done.stderr


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("code", [0, 3])
def test_ci_run(checkout: Checkout, tmp_path: Path, code: int) -> None:
    write_program(
        checkout.root / "scripts" / "test.sh",
        '#!/bin/bash\necho "$SAMED2D_VENV $*" >>"$CALLS"\n'
        f'sleep 1000 & echo $! >"$CALLS.left"\necho "7 passed in 1s"\nexit {code}\n',
    )
    cache = tmp_path / "cache"
    (cache / "samed2d" / "venv-of-older-requirements").mkdir(parents=True)
    (cache / "others").mkdir()
    done = checkout.run(".ci/run", XDG_CACHE_HOME=str(cache), cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == "7 passed in 1s"
    environment, arguments = checkout.calls.read_text().split(maxsplit=1)
    assert environment.startswith(f"{cache}/samed2d/venv-")
    assert arguments.strip() == "--install-system"
    assert sorted(p.name for p in cache.iterdir()) == ["others", "samed2d"]
    assert not (cache / "samed2d" / "venv-of-older-requirements").exists()
    left = int(Path(f"{checkout.calls}.left").read_text())
    while is_running(left):  # the signal was sent; a hanging test means it was not
        time.sleep(0.01)


# --- The announcement


@pytest.fixture
def answering() -> Iterator[int]:
    """Port of a server that answers anything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def announce(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/_announce.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_announcement(answering: int, host: str) -> None:
    said = announce("http", host, answering, "http://pacs.example", os.getpid())
    assert f"http://127.0.0.1:{answering}/ohif/" in said
    assert f"http://127.0.0.1:{answering}/info/" in said
    assert ("scripts/users.py" in said) == (host == "0.0.0.0")


def test_announcement_says_what_ohif_needs(answering: int) -> None:
    said = announce("http", "127.0.0.1", answering, "/my/scans", os.getpid())
    assert "--studies http://" in said


def test_announcement_ends_with_the_server() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        assert announce("http", "127.0.0.1", silent.getsockname()[1], "/x", ended.pid) == ""
