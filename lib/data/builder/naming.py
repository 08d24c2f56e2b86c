"""Names of files as in SA-Med2D-20M, and the hashes that stand for what must not be in a name.

``{modality}--{dataset}--{case}--{axis}_{index}.png`` and ``{image}--{class}_{instance}.png``.
"""

from __future__ import annotations

import hashlib
import re

MODALITIES = (
    *("ct_00", "ct_cbf", "ct_cbv", "ct_mtt", "ct_tmax", "dermoscopy_00", "endoscopy_00"),
    *("fundus_photography", "mr_00", "mr_adc", "mr_cbf", "mr_cbv", "mr_cmr", "mr_dwi"),
    *("mr_flair", "mr_hbv", "mr_lge", "mr_mprage", "mr_mtt", "mr_pd", "mr_rcbf", "mr_rcbv"),
    *("mr_t1", "mr_t1c", "mr_t1ce", "mr_t1gd", "mr_t1w", "mr_t2", "mr_t2w", "mr_tmax"),
    *("mr_ttp", "pet_00", "ultrasound_00", "x_ray", "microscopy_00"),
)
"""The 34 of SA-Med2D-20M, and microscopy, which it lacks."""

FLAT = "2d_none"
"""What stands in the place of axis and index in a name of a 2D image."""

HASH_DIGITS = 16


def is_word(text: str) -> bool:
    """Whether a text can be a part of a name: it holds no separator and nothing special."""
    return bool(re.fullmatch(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*", text))


def as_word(text: str) -> str:
    """The nearest text that can be a part of a name; two texts may have the same."""
    return "-".join(part for part in re.sub(r"[^A-Za-z0-9_-]", "_", text).split("-") if part) or "_"


def salted(text: str, salt: str) -> str:
    """What stands for a patient or a case: nobody without the salt can try names against it."""
    return hashlib.sha256(f"{salt}:{text}".encode()).hexdigest()[:HASH_DIGITS]


def image_name(modality: str, dataset: str, case: str, place: str) -> str:
    """Name of an image without its ending; place is "x_0006" or `FLAT`."""
    return f"{modality}--{dataset}--{case}--{place}"


def place_of(axis: str, index: int) -> str:
    """Where a slice lies: axis and four digits."""
    return f"{axis}_{index:04d}"


def mask_name(image: str, class_id: str, instance: int) -> str:
    """Name of a mask without its ending."""
    return f"{image}--{class_id}_{instance:03d}"
