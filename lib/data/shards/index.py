"""What lies in which shard; the last file that is written, so a folder with it is complete."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lib.errors import ImageError

FILE = "index.json"
FORMAT = 1


@dataclass(frozen=True)
class Shard:
    """One tar file.

    Attributes:
        file: its name.
        first: number of its first sample.
        samples: how many.
        masks: how many.
        bytes: its size.
        sha256: of its contents, hexadecimal.
    """

    file: str
    first: int
    samples: int
    masks: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """All shards, and what was left out of them (file: reason)."""

    shards: tuple[Shard, ...]
    left_out: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """In all shards."""
        return sum(shard.samples for shard in self.shards)

    def encode(self) -> bytes:
        """As JSON."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> Index:
        """From JSON.

        Raises:
            ImageError: damaged, of another format, or naming files outside its folder.
        """
        try:
            content: Any = json.loads(data)
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            shards = tuple(Shard(**entry) for entry in content["shards"])
            if any("/" in shard.file or shard.samples < 1 for shard in shards):
                raise ValueError("a shard that is none")
            return cls(shards, tuple(content["left_out"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ImageError(
                got=f"an index of shards that cannot be read ({error})",
                allowed=f"format {FORMAT}",
                todo="pack the data set again",
            ) from error
