"""A data set to train from, by its place: shards here or elsewhere, or a folder of PNG files."""

from __future__ import annotations

from pathlib import Path

from lib.data.sa_med2d import is_sa_med2d
from lib.data.shards.index import FILE
from lib.data.shards.sides import images_of_side
from lib.data.shards.stream import Pictures, Shards, Source

SCHEMES = ("http://", "https://")


def is_data_set(place: str) -> bool:
    """Whether a place is an address, a folder with shards, or one in the format of SA-Med2D-20M."""
    if place.startswith(SCHEMES):
        return True
    return (Path(place) / FILE).is_file() or is_sa_med2d(Path(place))


def open_data_set(place: str, side: str = "train") -> Source:
    """What is to be read from there.

    Args:
        place: see `is_data_set`; an address may end in the name of the index.
        side: of a folder of PNG files, "train" or "test"; shards were packed from one of them.

    Raises:
        ImageError: a damaged index or list of files, or no image.
        UnavailableError: an address that does not answer.
    """
    if place.startswith(SCHEMES) or (Path(place) / FILE).is_file():
        return Shards(place.removesuffix(f"/{FILE}"))
    return Pictures(Path(place), images_of_side(Path(place), side))
