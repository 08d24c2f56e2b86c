"""What the caller of the SEG writer says: which segments there are, and about the file itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from lib.errors import ImageError
from lib.imaging.anatomy_codes import Colour

MANUFACTURER = "samed2d"
"""By this a SEG of ours is known; for others a frame without a voxel says nothing."""

NOTHING_FOUND = "nothing found"
"""Name of the segment of an empty label map for which no segment is named."""

Algorithm = Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]
_LONGEST = 64
"""Characters of a text element (VR LO), and of a UID."""
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Whether a text can be a DICOM UID."""
    return len(text) <= _LONGEST and _UID.fullmatch(text) is not None


@dataclass(frozen=True)
class SegSegment:
    """One structure of a label map.

    Attributes:
        value: in the label map, 1 to 65535.
        name: SegmentLabel, 1 to 64 characters without a backslash.
        algorithm: who drew it: a person, a person with a model, a model.
        algorithm_name: of the program; not written where a person drew alone.
        colour: to show it in; by its name where None.
    """

    value: int
    name: str
    algorithm: Algorithm
    algorithm_name: str = "samed2d"
    colour: Colour | None = None

    def __post_init__(self) -> None:
        """Refuse what a SEG cannot hold (ImageError)."""
        problem = ""
        if not 1 <= self.value <= 65535:
            problem = f"value {self.value}"
        elif not self.name.strip() or len(self.name.strip()) > _LONGEST:
            problem = f"a name of {len(self.name.strip())} characters"
        elif "\\" in self.name or not self.name.isprintable():
            problem = f"name {self.name!r}"
        elif self.algorithm not in get_args(Algorithm):
            problem = f"algorithm {self.algorithm!r}"
        elif self.colour is not None and not all(0 <= part <= 255 for part in self.colour):
            problem = f"colour {self.colour}"
        if problem:
            raise ImageError(
                got=f"a segment with {problem}",
                allowed="a value from 1 to 65535, a name of 1 to 64 characters without a "
                "backslash, MANUAL, SEMIAUTOMATIC or AUTOMATIC, colours from 0 to 255",
                todo="rename or renumber the segment",
            )


@dataclass(frozen=True)
class SegFacts:
    """What a SEG says about itself.

    Attributes:
        series_uid: SeriesInstanceUID to give it.
        instance_uid: SOPInstanceUID to give it.
        created: date and time; written in this computer's time zone, as other programs do.
        description: of the series.
        creator: who made it.
        reviewed: slices k of the label map that were looked at, with or without a voxel.
        model_version: of the network that helped.
    """

    series_uid: str
    instance_uid: str
    created: datetime
    description: str = "samed2d"
    creator: str = ""
    reviewed: frozenset[int] = frozenset()
    model_version: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no UID (ImageError)."""
        for uid in (self.series_uid, self.instance_uid):
            if not is_uid(uid):
                raise ImageError(
                    got=f"UID {uid[:80]!r}", allowed="a DICOM UID", todo="make one for this SEG"
                )
