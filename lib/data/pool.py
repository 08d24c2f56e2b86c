"""Labelled 2D images held in memory: what a network is trained and tried on.

Sources are folders with ``.npz`` files (``image`` (H, W[, 3]), ``mask`` (N, H, W) bool, optional
``labels`` (N,)) and pairs ``NAME_image.nii.gz`` / ``NAME_label.nii.gz``, of which every slice of
plausible shape along every axis is taken. The rules are SAM-Med2D's (Cheng et al. 2023, section
3.1): the shorter side at least half the longer one, one mask for each connected component.

`lib.data.case_files` reads more layouts, and one file after the other.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from lib.errors import ImageError
from lib.imaging.volume import read_volume
from lib.prompts.components import component_areas

MIN_AREA_SHARE = 0.00153
"""Smallest object worth training on, as a share of the image (SAM-Med2D, section 3.1)."""

MAX_AREA_SHARE = 0.7
"""Largest one: beyond it the object is rather the background."""


@dataclass(frozen=True)
class LabelledImage:
    """One 2D image with its objects.

    Attributes:
        name: the case (file, and slice where it comes from a volume).
        patient: images that share it never stand on both sides of a split.
        image: (H, W) or (H, W, 3), native intensities.
        masks: (N, H, W) bool; one connected object each.
        labels: N names.
        modality: DICOM Modality, None where unknown.
        body_part: DICOM BodyPartExamined, None where unknown.
    """

    name: str
    patient: str
    image: NDArray[np.generic]
    masks: NDArray[np.bool_]
    labels: tuple[str, ...]
    modality: str | None = None
    body_part: str | None = None


def read_folder(folder: Path, whole: bool = False) -> list[LabelledImage]:
    """Read all labelled images of a folder (not of its subfolders), in order of their names.

    Args:
        folder: with files of the kinds described above.
        whole: as for `read_npz`.

    Raises:
        ImageError: the folder holds nothing of the kinds described above.
    """
    paths = sorted(folder.glob("*.npz"))
    images = [case for path in paths if len((case := read_npz(path, whole)).masks)]
    for label in sorted(folder.glob("*_label.nii.gz")):
        image = label.with_name(label.name.replace("_label.", "_image."))
        images.extend(read_pair(image, label))
    if not images:
        raise ImageError(
            got=f"no labelled image in {folder}",
            allowed=".npz files, or pairs NAME_image.nii.gz and NAME_label.nii.gz",
            todo="correct the folder",
        )
    return images


def read_npz(path: Path, whole: bool = False) -> LabelledImage:
    """Read one ``.npz`` case.

    Args:
        path: of the file.
        whole: take its masks as they are, without the empty ones, instead of their connected
            components of some size.

    Raises:
        ImageError: a damaged file, or keys or shapes that are not those described above.
    """
    image, masks, labels = _arrays_of(path)
    if masks.shape[1:] != image.shape[:2] or not len(masks) or len(labels) != len(masks):
        raise ImageError(
            got=f"{path.name}: image {image.shape}, masks {masks.shape}, {len(labels)} labels",
            allowed="masks (N, H, W) of an image (H, W) or (H, W, 3), and N labels",
            todo="write it again",
        )
    names = tuple(str(text) for text in labels)
    if whole:
        filled = masks.any(axis=(1, 2))
        names = tuple(itertools.compress(names, filled))
        masks = masks[filled]
    else:
        masks, names = split_components(masks, names)
    return LabelledImage(path.stem, _patient(path.stem), image, masks, names)


def _arrays_of(
    path: Path,
) -> tuple[NDArray[np.generic], NDArray[np.bool_], NDArray[np.generic]]:
    """Image, masks and labels of an ``.npz`` file; objects in it are refused unread."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not {"image", "mask"} <= set(arrays.files):
                raise ImageError(
                    got=f"{path.name} with {', '.join(arrays.files)}",
                    allowed="arrays 'image' and 'mask'",
                    todo="write it again",
                )
            image, masks = arrays["image"], arrays["mask"].astype(bool)
            labels = arrays["labels"] if "labels" in arrays.files else np.arange(len(masks))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageError(
            got=f"{path.name}, which cannot be read ({error})",
            allowed="an .npz file with arrays 'image', 'mask' and 'labels'",
            todo="write it again",
        ) from error
    return image, masks, labels


def read_pair(image_path: Path, label_path: Path, case: str = "") -> Iterator[LabelledImage]:
    """Slices, along all three axes, of a volume and its label map on the same grid.

    Args:
        image_path: of the volume.
        label_path: of the label map, 0 where nothing is.
        case: name of it; empty takes the image file's.

    Raises:
        ImageError: a damaged file, or grids that differ in shape.
    """
    volume = read_volume(image_path)
    label_map = _label_map(label_path)
    if label_map.shape != volume.array.shape:
        raise ImageError(
            got=f"{label_path.name} of shape {label_map.shape} for {volume.array.shape}",
            allowed="a label map on the image's own grid",
            todo="resample the label map",
        )
    case = case or image_path.name.removesuffix("_image.nii.gz")
    for axis in range(3):
        # The spacing decides whether the slice looks like a picture or like a squashed one.
        height_spacing, width_spacing = np.delete(volume.spacing, axis)[::-1]
        if not 0.5 <= height_spacing / width_spacing <= 2:
            continue
        for index in range(label_map.shape[axis]):
            labels = np.take(label_map, index, axis=axis).T
            picture = np.take(volume.array, index, axis=axis).T
            if 2 * min(picture.shape) < max(picture.shape) or not labels.any():
                continue
            values = [v for v in np.unique(labels) if v]
            masks, names = split_components(
                np.stack([labels == v for v in values]), [str(v) for v in values]
            )
            if len(masks):
                name = f"{case}_{'ijk'[axis]}{index:03d}"
                yield LabelledImage(name, _patient(case), picture, masks, names, volume.modality)


def _label_map(path: Path) -> NDArray[np.int32]:
    """Values of a NIfTI label map in the file's own voxel order."""
    try:
        image = nibabel.loadsave.load(path)
        return np.asarray(image.dataobj).astype(np.int32)  # type: ignore[attr-defined]
    except (OSError, ValueError, EOFError, zlib.error, ImageFileError) as error:
        raise ImageError(
            got=f"{path.name}, which cannot be read ({error})",
            allowed="a NIfTI label map",
            todo="write it again",
        ) from error


def split_components(
    masks: NDArray[np.bool_], names: Sequence[str]
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """One mask for each connected component of at least ``MIN_AREA_SHARE`` of the image.

    Args:
        masks: (N, H, W) bool.
        names: N names, which the components keep.
    """
    smallest = MIN_AREA_SHARE * masks[0].size
    found = []
    kept = []
    for mask, name in zip(masks, names, strict=True):
        components, areas = component_areas(mask)
        for number in np.flatnonzero(areas >= smallest) + 1:
            found.append(components == number)
            kept.append(name)
    return np.array(found, dtype=bool).reshape(-1, *masks.shape[1:]), tuple(kept)


def usable_masks(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the masks (N, H, W) that are neither too small to click on nor all the image."""
    share = masks.mean(axis=(1, 2))
    usable: NDArray[np.bool_] = masks[(share >= MIN_AREA_SHARE) & (share <= MAX_AREA_SHARE)]
    return usable


def split_by_patient(
    images: list[LabelledImage], share: float, salt: str = "samed2d"
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split into (training, validation); stable across runs and machines.

    A patient goes to validation when the hash of its name falls into the first ``share`` (0..1).
    """

    def validates(image: LabelledImage) -> bool:
        digest = hashlib.sha256(f"{salt}:{image.patient}".encode()).digest()
        return int.from_bytes(digest[:4], "big") < share * 2**32

    held_out = [image for image in images if validates(image)]
    return [image for image in images if not validates(image)], held_out


def _patient(case: str) -> str:
    """The case's name without slice suffix and modality, so that slices of one person agree."""
    stem = re.sub(r"_(z|ax|cor|sag)\d+$", "", case)
    return re.sub(r"^(mr|ct)_|(?<=_)(MR|CT)_", "", stem)
