"""What is kept of one target in one setting; one line of a file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lib.training.evaluate import Answer, Interaction
from lib.training.surface import Mask, surface_dice


@dataclass(frozen=True)
class Setting:
    """One way to answer."""

    zoom: str
    precision: str

    @property
    def name(self) -> str:
        """As tables say it."""
        return self.precision if self.zoom == "-" else f"zoom {self.zoom}, {self.precision}"


WITHOUT_NETWORK = Setting("-", "no network")


@dataclass(frozen=True)
class Score:
    """How good one answer was: shares from 0 to 1, seconds, and whether part of the image was used.

    Attributes:
        dice, iou: against the target.
        nsd: normalised surface Dice, see `lib.training.surface`.
        seconds: until the answer was there.
        zoomed: see `lib.inference.zoom`.
    """

    dice: float
    iou: float
    nsd: float
    seconds: float
    zoomed: bool

    @classmethod
    def of(cls, answer: Answer, target: Mask) -> Score:
        """Of an answer for a target (H, W)."""
        nsd = surface_dice(answer.mask, target)
        return cls(answer.dice, answer.iou, nsd, answer.seconds, answer.zoomed)


@dataclass(frozen=True)
class Target:
    """One object of one image.

    Attributes:
        file: it was read from.
        case: name of the image.
        index: of its mask in the image.
        patient: whose it is.
        modality: in the words of the data.
        label: name of the object.
        side: longer side of its bounding box, in pixels of the network.
    """

    file: str
    case: str
    index: int
    patient: str
    modality: str
    label: str
    side: float

    @property
    def key(self) -> str:
        """Names it among all targets of a folder."""
        return f"{self.file}/{self.case}/{self.index}"


@dataclass(frozen=True)
class Row:
    """One target in one setting.

    Attributes:
        target: what was segmented.
        setting: how.
        scores: by prompt.
        by_click: (Dice, IoU) after 1, 2, ... clicks, as many as were given.
        same: agreement with the first precision, by prompt; empty where there is none to compare.
        encode_seconds: for the image.
    """

    target: Target
    setting: Setting
    scores: Mapping[str, Score]
    by_click: tuple[tuple[float, float], ...]
    same: Mapping[str, float]
    encode_seconds: float

    def clicks_until(self, wanted: float, most: int) -> int:
        """As `Interaction.clicks_until`."""
        return Interaction({}, self.by_click).clicks_until(wanted, most)

    @property
    def mean_dice(self) -> float:
        """Over all prompts."""
        return sum(score.dice for score in self.scores.values()) / len(self.scores)


def row_to_json(row: Row) -> dict[str, Any]:
    """As JSON holds it."""
    return asdict(row)


def row_from_json(content: Mapping[str, Any]) -> Row:
    """Back from `row_to_json`.

    Raises:
        TypeError, KeyError: something else.
    """
    return Row(
        target=Target(**content["target"]),
        setting=Setting(**content["setting"]),
        scores={name: Score(**score) for name, score in content["scores"].items()},
        by_click=tuple((float(dice), float(iou)) for dice, iou in content["by_click"]),
        same=dict(content["same"]),
        encode_seconds=float(content["encode_seconds"]),
    )
