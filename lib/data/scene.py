"""A scene: what every pixel is made of, and which named object it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.data.random_fields import Field

Mask = npt.NDArray[np.bool_]
"""A bool array (H, W)."""


@dataclass(frozen=True)
class SceneObject:
    """One connected object of a scene: its name and its mask (H, W)."""

    name: str
    mask: Mask


@dataclass
class Scene:
    """A picture being painted, back to front.

    Attributes:
        values: float32 (H, W), in the unit of the kind (HU for CT, 0..1 elsewhere).
        labels: int16 (H, W), 0 = nothing named.
        names: the name of label ``n`` is ``names[n - 1]``.
        parents: label of a lesion -> label of the organ that holds it.
        overlays: objects that overlap others (projections), kept beside the label map.
    """

    values: Field
    labels: npt.NDArray[np.int16]
    names: list[str] = field(default_factory=list)
    parents: dict[int, int] = field(default_factory=dict)
    overlays: list[SceneObject] = field(default_factory=list)

    @classmethod
    def blank(cls, height: int, width: int, value: float = 0.0) -> Scene:
        """An empty scene of one value."""
        return cls(np.full((height, width), value, np.float32), np.zeros((height, width), np.int16))

    def label_of(self, name: str) -> int:
        """The label of a name, made on first use."""
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name) + 1

    def paint(
        self, mask: Mask, value: float | Field, name: str | None = None, inside: str | None = None
    ) -> None:
        """Give the pixels of a mask a value and an owner.

        Args:
            mask: bool (H, W).
            value: one value, or a field (H, W) of which the masked part is used.
            name: the object the pixels now belong to; None: to nothing.
            inside: with a name: the organ the object is a part of (a lesion's liver);
                without: the pixels stay that organ's (a vessel within the liver).
        """
        if isinstance(value, np.ndarray):
            np.copyto(self.values, value, where=mask)
        else:
            self.values[mask] = value
        if name is None:
            self.labels[mask] = 0 if inside is None else self.label_of(inside)
            return
        label = self.label_of(name)
        self.labels[mask] = label
        if inside is not None:
            self.parents[label] = self.label_of(inside)

    def objects(self, min_area: int, whole_organs: bool) -> list[SceneObject]:
        """Every connected object of at least ``min_area`` pixels, apart from the others.

        Args:
            min_area: pixels.
            whole_organs: an organ's mask includes the lesions in it.
        """
        found = [
            SceneObject(o.name, part)
            for o in self.overlays
            if np.count_nonzero(o.mask) >= min_area
            for part in components(o.mask, min_area)
        ]
        for index, box in enumerate(ndimage.find_objects(self.labels), start=1):
            if box is None:
                continue
            members = self.labels[box] == index
            if whole_organs:
                for child, parent in self.parents.items():
                    if parent == index:
                        members |= self.labels[box] == child
            if np.count_nonzero(members) < min_area:
                continue
            for part in components(members, min_area):
                mask = np.zeros(self.labels.shape, np.bool_)
                mask[box] = part
                found.append(SceneObject(self.names[index - 1], mask))
        return found


def components(mask: Mask, min_area: int) -> list[Mask]:
    """The 4-connected components of a mask that have at least ``min_area`` pixels."""
    box = bounding_box(mask)
    numbered, count = ndimage.label(mask[box])
    if count == 1:
        return [mask]
    areas = np.bincount(numbered.ravel())
    found = []
    for number in range(1, count + 1):
        if areas[number] >= min_area:
            part = np.zeros(mask.shape, np.bool_)
            part[box] = numbered == number
            found.append(part)
    return found


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of a mask (H, W), ``margin`` wider on all sides; none of an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )
