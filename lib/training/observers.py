"""Ready-made observers of a run."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from lib.training.progress import RunStats

logger = logging.getLogger(__name__)


class LogObserver:
    """Writes lines to the log and figures to a file.

    Args:
        stats_path: JSON file, replaced as a whole; made with its folders. None for no file.
    """

    def __init__(self, stats_path: Path | None = None) -> None:
        self._path = stats_path

    def say(self, sentence: str) -> None:
        """One line of the log."""
        logger.info(sentence)

    def show(self, stats: RunStats) -> None:
        """Replace the file."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Each process its own: two runs may end at the same time.
            part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
            part.write_text(json.dumps(stats.to_json(), indent=1), encoding="utf-8")
            part.replace(self._path)
        except OSError as error:
            # Figures to look at are no reason to end a run.
            logger.warning("%s could not be written: %s", self._path, error)


def read_stats(path: Path) -> dict[str, Any]:
    """Figures of the last run; empty where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
