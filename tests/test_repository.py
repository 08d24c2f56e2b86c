"""What holds the repository together: requirements, license, ignored files, commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import lib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SUPPLY = ROOT / "scripts" / "_supply"
"""Parts of a script for maintainers, who have requirements-dev.txt."""

HARD_PINS = {
    "monailabel": "0.8.5",
    "pydicom-seg": "0.4.1",
    "dcmqi": "1.5.7",
    "jsonschema": "3.2.0",
}
"""What the host is known to work with; another version needs the whole contract tried again."""


def canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def requirement_lines(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r", " "))]


def pins(name: str) -> dict[str, str]:
    found = {}
    for line in requirement_lines(name):
        match = re.match(r"([\w.-]+)==([\w.+!]+)(\s|$)", line)
        assert match, f"{name}: {line!r} is no pin of one version"
        found[canonical(match[1])] = match[2]
    return found


def minor(version: str) -> tuple[int, int]:
    first, second = version.split(".")[:2]
    return int(first), int(second)


# --- Requirements


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-ray.txt", "requirements-dev.txt"]
)
def test_every_requirement_has_a_reason(name: str) -> None:
    without = [line for line in requirement_lines(name) if not re.search(r"#\s*\w", line)]
    assert without == []


def test_pins_that_other_packages_force() -> None:
    pinned = pins("requirements.txt")
    assert {name: pinned[name] for name in HARD_PINS} == HARD_PINS
    assert minor(pinned["numpy"]) < (2, 0)  # pydicom-seg
    assert (2, 4) <= minor(pinned["pydicom"]) < (3, 0)  # monailabel
    assert minor(pinned["torch"]) >= (2, 10)  # advisories
    assert minor(pinned["monai"]) > (1, 5)  # advisories


@pytest.mark.parametrize("suffix", ["", "-dev"])
def test_lock_holds_the_requirements(suffix: str) -> None:
    lock = pins(f"requirements{suffix}.lock")
    wanted = pins(f"requirements{suffix}.txt") | (pins("requirements-ray.txt") if suffix else {})
    assert {name: lock.get(name) for name in wanted} == wanted


def test_both_locks_agree() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-dev.lock", "scripts/installer.lock"]
)
def test_every_file_that_may_be_installed_is_known_by_its_hash(name: str) -> None:
    entries = re.split(r"^(?=[^\s#])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(name))
    one = r" \\\n    --hash=sha256:[0-9a-f]{64}"
    assert [entry for entry in entries if not re.fullmatch(rf"\S+( ; .+?)?({one})+\n", entry)] == []


def test_the_installer_is_the_one_that_is_named() -> None:
    script = (ROOT / "scripts" / "lock.sh").read_text()
    named = re.search(r"^readonly UV_VERSION=(.+)$", script, flags=re.MULTILINE)
    assert named
    assert pins("scripts/installer.lock") == {"uv": named[1]}


def imported_packages(*folders: str) -> set[str]:
    """Distributions behind the absolute imports of all files; not ours, not Python's."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return packages_of(path for path in paths if path.parent != SUPPLY)


def packages_of(paths: Iterable[Path]) -> set[str]:
    owners = packages_distributions()
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in ("lib", "scripts", "tests"):
                    found.add(canonical(owners[top][0]))
    return found


def test_what_the_server_imports_is_required() -> None:
    assert imported_packages("lib", "apps", "scripts") <= set(pins("requirements.txt"))


def test_what_the_tests_import_is_required() -> None:
    required = (
        pins("requirements.txt") | pins("requirements-ray.txt") | pins("requirements-dev.txt")
    )
    assert imported_packages("tests") <= set(required)


def test_what_maintainers_run_imports_is_required_of_them() -> None:
    required = pins("requirements.txt") | pins("requirements-dev.txt")
    assert packages_of(SUPPLY.glob("*.py")) <= set(required)


def test_ray_is_for_those_who_want_it() -> None:
    assert "ray" not in pins("requirements.lock")
    assert "-r requirements-ray.txt" in (ROOT / "requirements-dev.txt").read_text()


# --- Project


def test_no_folder_has_a_name_that_tools_pass_over() -> None:
    # pytest never looks into a folder named "build", nor does ruff.
    passed_over = {"build", "dist", "venv", "_build", "node_modules", "site-packages", "CVS"}
    folders = [p for name in ("lib", "tests", "scripts") for p in (ROOT / name).rglob("*.py")]
    found = {part for path in folders for part in path.relative_to(ROOT).parts[:-1]}
    assert "builder" in found and not found & passed_over


def test_python_version() -> None:
    assert PROJECT["project"]["requires-python"] == "==3.11.*"
    assert sys.version_info[:2] == (3, 11)


def test_one_version() -> None:
    assert PROJECT["project"]["version"] == lib.__version__


def test_license() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_an_unknown_mark_is_an_error() -> None:
    options = PROJECT["tool"]["pytest"]
    assert "--strict-markers" in options["addopts"]
    marks = {mark.split(":")[0] for mark in options["markers"]}
    assert {"server", "pacs", "browser"} <= marks


# --- Ignored files


def is_ignored(path: str) -> bool:
    done = subprocess.run(
        ["git", "check-ignore", "--quiet", "--no-index", path], cwd=ROOT, check=False
    )
    assert done.returncode in (0, 1)
    return done.returncode == 0


@pytest.mark.parametrize(
    "path",
    [
        ".venv/bin/python",
        "apps/samed2d/bin/itkimage2segimage",
        "apps/samed2d/lib/x",
        "apps/samed2d/logs/app.log",
        "apps/samed2d/model/x.pt",
        "apps/samed2d/weights/samed2d_b.safetensors",
        "apps/samed2d/weights/sam_vit_b_01ec64.pth.part",
        "sample-data/studies/.lock",
        "sample-data/studies/datastore_v2.json",
        "sample-data/studies/labels/final/x.nii.gz",
        "lib/__pycache__/errors.cpython-311.pyc",
    ],
)
def test_what_running_leaves_is_ignored(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize(
    "path",
    [
        "apps/samed2d/main.py",
        "apps/samed2d/models/samed2d.toml",
        "apps/samed2d/weights/samed2d_t.safetensors",
        "apps/samed2d/weights/sammed3d_t.safetensors",
        "lib/errors.py",
        "sample-data/studies/phantom_abdomen_ct.nii.gz",
        "sample-data/labels/labels.json",
        "requirements.lock",
    ],
)
def test_what_belongs_here_is_not_ignored(path: str) -> None:
    assert not is_ignored(path)


# --- Commands


def shell_scripts() -> list[Path]:
    return [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]


@pytest.mark.parametrize("script", shell_scripts(), ids=lambda path: path.name)
def test_shell_scripts_stop_at_errors(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    if not script.name.startswith("_"):  # those are sourced
        assert "\nset -euo pipefail\n" in script.read_text()


def test_continuous_integration_runs_the_readmes_command() -> None:
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text()
    assert "bash scripts/test.sh" in (ROOT / "README.md").read_text()
    assert "bash scripts/start.sh" in (ROOT / "README.md").read_text()


def python_commands() -> list[Path]:
    return [p for p in sorted((ROOT / "scripts").glob("*.py")) if not p.name.startswith("_")]


@pytest.mark.parametrize("script", python_commands(), ids=lambda path: path.name)
def test_no_command_hides_a_package(script: Path) -> None:
    # The folder of a script is the first place where Python looks for modules.
    assert script.stem not in sys.stdlib_module_names
    assert script.stem not in packages_distributions()
