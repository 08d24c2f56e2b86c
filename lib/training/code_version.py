"""Which state of this project's source is running."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GIT_SECONDS = 10.0


def code_version(root: Path = ROOT) -> str:
    """The git commit, "-dirty" after it where files were changed; else "samed2d 0.1.0".

    Args:
        root: of the checkout.
    """
    # Unpacked inside of somebody else's repository, git would name that one's commit.
    if (root / ".git").exists():
        command = ["git", "--no-optional-locks", "-C", str(root), "describe", "--always"]
        try:
            done = subprocess.run(
                [*command, "--abbrev=40", "--exclude=*", "--dirty"],
                capture_output=True,
                text=True,
                timeout=GIT_SECONDS,
                check=True,
            )
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass  # no git here, or it may not read this folder: the version says less, but enough
    with (root / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    return f"{project['name']} {project['version']}"
