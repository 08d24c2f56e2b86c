"""Real labelled images to draw from: source first, then patient, then image.

Sources are weighted by the square root of their number of patients: a source of one patient must
not be seen as often as one of fifteen, and a long series of one patient not more than any other.
Segments (`lib.data.regions`) are found when an image is first drawn for them, and kept: each
process that draws has an object of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib.data.pool import LabelledImage
from lib.data.regions import SIDE, find_regions
from lib.imaging.intensity import Window, choose_window, to_uint8

Image8 = NDArray[np.uint8]
Masks = NDArray[np.bool_]

LONGEST = 640
"""Images with a longer side are reduced once, when the stream starts."""

WINDOW_JITTER = 0.12
"""Standard deviation of the shift of both ends of the display window, as a share of its width."""

_REGION_DRAWS = 12


def source_of(name: str) -> str:
    """The source a case comes from: how its name begins, with the modality or the part of it.

    ``sunny_SC-HF-I-05`` -> ``sunny``, ``sts_MR_STS_004`` -> ``sts_MR``,
    ``ms_HipXRay_image054`` -> ``ms_HipXRay``, ``ct_msd_spleen2_k012`` -> ``ct_msd``.
    """
    part = r"_(?:(?:MR|CT|PT|US|CR)(?![A-Za-z])|[A-Z][A-Za-z]{3,}\d*(?=_))"
    found = re.match(rf"(?:(?:mr|ct)_)?[A-Za-z]+\d*(?:{part})?", name)
    return found.group() if found else name


class RealImages:
    """Images in memory, grouped; see the module.

    Args:
        images: with at least one mask each.
    """

    def __init__(self, images: Sequence[LabelledImage]) -> None:
        images = [_reduced(image) for image in images]
        self._groups: list[list[list[LabelledImage]]] = []
        for source in sorted({source_of(image.name) for image in images}):
            of_source = [image for image in images if source_of(image.name) == source]
            patients = sorted({image.patient for image in of_source})
            self._groups.append([[i for i in of_source if i.patient == p] for p in patients])
        weights = np.sqrt([len(patients) for patients in self._groups])
        self._weights = weights / weights.sum()
        self._regions: dict[int, tuple[Image8, Masks]] = {}
        self._windows: dict[int, Window] = {}

    def case(self, rng: np.random.Generator) -> LabelledImage:
        """One of the images, reduced where it was too large."""
        patients = self._groups[rng.choice(len(self._groups), p=self._weights)]
        choices = patients[rng.integers(len(patients))]
        return choices[rng.integers(len(choices))]

    def draw(self, rng: np.random.Generator, region_share: float) -> tuple[Image8, Masks]:
        """One image through a random display window, with its objects or with segments of it.

        Args:
            rng: source of all random choices.
            region_share: how often segments are chosen (not where an image has none).

        Returns:
            uint8 (H, W) or (H, W, 3) and bool (N, H, W), N >= 1.
        """
        case = self.case(rng)
        if rng.random() < region_share:
            image, regions = self._regions_of(case)
            if len(regions):
                return image, regions[rng.permutation(len(regions))[:_REGION_DRAWS]]
        return self._display(case, rng), case.masks

    def _regions_of(self, case: LabelledImage) -> tuple[Image8, Masks]:
        known = self._regions.get(id(case))
        if known is None:
            image = self._display(case, None)
            scale = SIDE / max(image.shape[:2])
            shape = [max(16, round(n * min(scale, 2.0))) for n in image.shape[1::-1]]
            picture = Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR)
            known = self._regions[id(case)] = (
                np.asarray(picture),
                find_regions(np.asarray(picture)),
            )
        return known

    def _display(self, case: LabelledImage, rng: np.random.Generator | None) -> Image8:
        """Through the window the server would choose, its ends shifted where ``rng`` is given."""
        image = case.image
        if image.ndim == 3 and image.dtype == np.uint8:
            return image.astype(np.uint8)
        window = self._windows.get(id(case))
        if window is None:
            window = choose_window(image, "auto", case.modality, case.body_part)
            self._windows[id(case)] = window
        if rng is not None:
            width = window.upper - window.lower
            lower, upper = (window.lower, window.upper) + rng.normal(0, WINDOW_JITTER, 2) * width
            if lower < upper:
                window = Window(float(lower), float(upper))
        return to_uint8(image, window)


def _reduced(case: LabelledImage) -> LabelledImage:
    """Blocks of pixels averaged where the image is longer than `LONGEST`."""
    block = -(-max(case.image.shape[:2]) // LONGEST)
    if block < 2:
        return case
    height, width = (n // block for n in case.image.shape[:2])
    cut = case.image[: height * block, : width * block].astype(np.float32)
    image = cut.reshape(height, block, width, block, *cut.shape[2:]).mean(axis=(1, 3))
    masks = case.masks[:, : height * block, : width * block]
    masks = masks.reshape(-1, height, block, width, block).mean(axis=(2, 4)) >= 0.5
    kept = masks.any(axis=(1, 2))
    return LabelledImage(
        case.name,
        case.patient,
        image.astype(case.image.dtype),
        masks[kept],
        tuple(label for label, keep in zip(case.labels, kept, strict=True) if keep),
        case.modality,
        case.body_part,
    )
