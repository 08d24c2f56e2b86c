"""Which test files come first where several workers share them out: those that take long.

A worker takes one file after another (``--dist loadfile``). Were a dear one taken last, the other
workers would be idle until it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEAREST = (
    "tests/pacs/test_whole_loop.py",
    "tests/training/test_run.py",
    "tests/scripts/test_train.py",
    "tests/server/test_training.py",
    "tests/pacs/test_save_faults.py",
    "tests/scripts/test_pretrain.py",
    "tests/server/test_encoder_upgrade.py",
    "tests/training/test_processes.py",
    "tests/training/test_registry.py",
    "tests/data/builder/test_ray.py",
)
"""Files that train, or start many processes: the longest first."""
DEAR_MARKS = ("server", "pacs", "browser")
"""Who bears one starts programs and waits for them."""


def dear_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The same tests: `DEAREST`, then files with one of `DEAR_MARKS`, then the others.

    Files stay whole, and within each class in the order they came in.
    """
    marked = {item.path for item in items if any(map(item.get_closest_marker, DEAR_MARKS))}
    ranks = {ROOT / name: rank for rank, name in enumerate(DEAREST)}

    def rank(item: pytest.Item) -> int:
        return ranks.get(item.path, len(DEAREST) + (item.path not in marked))

    return sorted(items, key=rank)
