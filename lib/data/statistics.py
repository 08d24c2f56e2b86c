"""What a data set in the format of SA-Med2D-20M holds: counts by modality, class and size.

As in figure 3 of the paper (Ye et al. 2023), and what it lacks: cases and patients, masks of each
image, sizes of images. Names are enough for all but sizes, for which every n-th mask is opened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.body_regions import body_region
from lib.data.sa_med2d import class_of, masks_by_image, name_facts, read_image
from lib.data.shards.sides import read_object
from lib.errors import Samed2dError

MAPPING = "SAMed2D_v1_class_mapping_id.json"
PATIENTS = "patients.json"
UNKNOWN = "unknown"


@dataclass
class Statistics:
    """Counts of one data set.

    Attributes:
        images: by modality.
        masks: by modality.
        classes: masks by name of the class.
        regions: masks by part of the body, see `lib.data.body_regions`.
        datasets: images by data set.
        axes: images by axis of the slice; "2d" where there is none.
        masks_of_image: images by number of masks.
        sizes: images by "height x width", of those that were opened.
        shares: of the image that a mask covers, of those that were opened.
        cases: number of them.
        patients: number of them, as far as the data set says.
        unreadable: masks that could not be opened.
    """

    images: Counter[str] = field(default_factory=Counter)
    masks: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    datasets: Counter[str] = field(default_factory=Counter)
    axes: Counter[str] = field(default_factory=Counter)
    masks_of_image: Counter[int] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    shares: list[float] = field(default_factory=list)
    cases: int = 0
    patients: int = 0
    unreadable: int = 0

    def as_json(self) -> dict[str, Any]:
        """Everything, with deciles in the place of all sizes of masks."""
        content = {
            name: dict(value.most_common()) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
            if name != "shares"
        }
        deciles: list[float] = []
        if self.shares:
            deciles = np.quantile(self.shares, np.linspace(0, 1, 11)).round(6).tolist()
        return content | {"mask_share_deciles": deciles}


def count(folder: Path, every: int, progress: Callable[[int, int], None]) -> Statistics:
    """Count what is in a folder.

    Args:
        folder: with images/ and masks/.
        every: only every n-th mask is opened for its size.
        progress: told how many images are done, and how many there are.

    Raises:
        ImageError: a list of files that cannot be read.
    """
    pairs = masks_by_image(folder)
    names = _class_names(folder)
    found = Statistics()
    cases: set[str] = set()
    number = 0
    for done, (image, masks) in enumerate(pairs.items(), start=1):
        facts = name_facts(image.stem)
        modality = facts.modality or UNKNOWN
        dataset = facts.patient.split("--")[0] if facts.modality else UNKNOWN
        cases.add(facts.patient)
        found.images[modality] += 1
        found.masks[modality] += len(masks)
        found.datasets[dataset] += 1
        found.axes[image.stem.rsplit("--", 1)[-1].split("_")[0]] += 1
        found.masks_of_image[len(masks)] += 1
        for mask in masks:
            class_id = class_of(mask.stem, image.stem)
            name = names[dataset].get(class_id, class_id)
            found.classes[name] += 1
            found.regions[body_region(name)] += 1
            if number % every == 0:
                _open(mask, found)
            number += 1
        progress(done, len(pairs))
    patients = read_object(folder / PATIENTS)
    found.cases, found.patients = len(cases), len({patients.get(c, c) for c in cases})
    return found


def _open(path: Path, found: Statistics) -> None:
    try:
        mask = read_image(path)
    except Samed2dError:
        found.unreadable += 1
        return
    found.sizes[f"{mask.shape[0]} x {mask.shape[1]}"] += 1
    found.shares.append(float(np.count_nonzero(mask) / mask.size))


def _class_names(folder: Path) -> dict[str, dict[str, str]]:
    """{data set: {id: class}}; the mapping may be flat."""
    names: dict[str, dict[str, str]] = defaultdict(dict)
    content = read_object(folder / MAPPING)
    for key, value in content.items():
        if isinstance(value, dict):
            names[key] = {str(number): str(name) for name, number in value.items()}
    flat = {str(v): k for k, v in content.items() if isinstance(v, str)}
    if flat:
        return defaultdict(lambda: flat)
    return names
