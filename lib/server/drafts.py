"""What was drawn in an image and is not saved yet, for viewers that cannot send it back.

OHIF shows the answers to clicks and keeps the label map to itself. So the answers are remembered
here as OHIF puts them together: an answer replaces its own label, on its slice or in the whole
volume, and leaves pixels alone that another label has. What somebody painted by hand is unknown.

Viewers like OHIF do not say who asks: two annotators of one image draw into one draft.

Concurrency contract: one lock guards the table and every draft in it; it is held while masks are
exchanged and packed, never while a file is written. What `of` returns is a copy.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lib.inference.volume_mask import PackedMask

MAX_IMAGES = 64
"""So many images may have a draft; the one that was left alone for longest is forgotten."""

Masks = Mapping[int, NDArray[np.bool_]]


@dataclass(frozen=True)
class Draft:
    """What was drawn in one image.

    Attributes:
        masks: label -> slice k -> mask (H, W); no pixel has two labels.
        clicks: points and boxes that it took.
        model_version: of the newest answer.
    """

    masks: Mapping[str, Mapping[int, PackedMask]]
    clicks: int
    model_version: str

    @property
    def slices(self) -> tuple[int, ...]:
        """All slices that somebody looked at, also those where nothing was found."""
        return tuple(sorted({k for slices in self.masks.values() for k in slices}))


@dataclass
class _Growing:
    masks: dict[str, dict[int, PackedMask]] = field(default_factory=dict)
    clicks: int = 0
    model_version: str = ""


class Drafts:
    """Drafts of the images somebody works on.

    Args:
        max_images: see `MAX_IMAGES`.
    """

    def __init__(self, max_images: int = MAX_IMAGES) -> None:
        self._max_images = max_images
        self._lock = threading.Lock()
        self._drafts: OrderedDict[str, _Growing] = OrderedDict()

    def draw(
        self,
        image: str,
        label: str,
        masks: Masks,
        *,
        clicks: int = 1,
        model_version: str = "",
        whole: bool = False,
    ) -> None:
        """Take an answer over.

        Args:
            image: path of the image.
            label: that was drawn.
            masks: slice -> mask (H, W); an empty one empties its slice.
            clicks: points and boxes of the request.
            model_version: what answered.
            whole: the answer replaces the label in the whole volume, not on these slices alone.
        """
        with self._lock:
            draft = self._drafts.setdefault(image, _Growing())
            self._drafts.move_to_end(image)
            own = draft.masks.setdefault(label, {})
            if whole:
                own.clear()
            for k, mask in masks.items():
                own[k] = PackedMask.pack(_free(mask, draft, label, k))
            draft.clicks += clicks
            draft.model_version = model_version
            while len(self._drafts) > self._max_images:
                self._drafts.popitem(last=False)

    def of(self, image: str) -> Draft | None:
        """The draft of an image, or None."""
        with self._lock:
            draft = self._drafts.get(image)
            if draft is None:
                return None
            masks = {label: dict(slices) for label, slices in draft.masks.items()}
            return Draft(masks, draft.clicks, draft.model_version)


def _free(mask: NDArray[np.bool_], draft: _Growing, label: str, k: int) -> NDArray[np.bool_]:
    """The pixels of a mask that no other label has."""
    for other, slices in draft.masks.items():
        if other != label and k in slices:
            mask = mask & ~slices[k].unpack()
    return mask
