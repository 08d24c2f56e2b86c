"""Images of a data set that is too large for memory, one after the other as its stream gives them.

In the place of `lib.data.real_images` for a network that is trained from shards or from folders of
PNG files: each image comes once an epoch, whatever its patient.
"""

from __future__ import annotations

import logging

import numpy as np

from lib.data.real_images import Image8, Masks, RealImages
from lib.data.shards.stream import Position, Source, stream
from lib.errors import Samed2dError

logger = logging.getLogger(__name__)


class StreamedImages:
    """Draws the next image of a data set.

    Args:
        source: shards or a folder.
        seed: of the order.
        start: where to go on.
        part: which of several readers this is.
        parts: how many readers.

    Attributes:
        position: after the image that was drawn last.
    """

    def __init__(
        self,
        source: Source,
        seed: int,
        start: Position | None = None,
        part: int = 0,
        parts: int = 1,
    ) -> None:
        self.position = start or Position()
        self._samples = stream(source, seed, start, part, parts, _pass_over)

    def draw(self, rng: np.random.Generator, region_share: float) -> tuple[Image8, Masks]:
        """As `RealImages.draw`, of the next image.

        Raises:
            ImageError, UnavailableError: as `stream`.
        """
        image, self.position = next(self._samples)
        return RealImages([image]).draw(rng, region_share)


def _pass_over(error: Samed2dError) -> None:
    logger.warning("left out: %s", error.got)
