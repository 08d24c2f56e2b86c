"""A small data set, built and packed."""

from __future__ import annotations

from pathlib import Path

from lib.data.shards.pack import pack
from scripts.build_dataset import main
from tests.support.archives import write_archive


def build_small(folder: Path) -> Path:
    """A folder of PNG files of about 170 images."""
    description = write_archive(folder / "in", cases=4)
    assert main(["--in", str(description), "--out", str(folder / "set"), "--quiet"]) == 0
    return folder / "set"


def pack_small(data_set: Path, out: Path, per_shard: int = 20) -> Path:
    """Shards of it."""
    pack(data_set, out, per_shard)
    return out
