"""A DICOM series as a volume, whatever its vendor left out, mixed in or compressed.

Two passes: the headers of all files first (`dicom_header`, `dicom_order`), which gives the grid and
lets the limits be checked; then the pixels (`dicom_pixels`), file by file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from lib.errors import ImageError, NotFoundError
from lib.imaging.affine import check_affine
from lib.imaging.dicom_header import Plane, is_dicomdir, no_image, read_planes
from lib.imaging.dicom_order import choose_series, stack_planes
from lib.imaging.dicom_pixels import decode_frames, dtype_for, rescale
from lib.imaging.grid import Array, ReadLimits, Volume, finite_floats


def read_series(
    source: str | Path | Iterable[Path],
    limits: ReadLimits | None = None,
    series_uid: str | None = None,
) -> Volume:
    """One DICOM series in the grid of ITK's series reader.

    Args:
        source: a folder (its files, not those of folders inside it), one file, or files in any
            order and with any names.
        limits: see `ReadLimits`; defaults apply where None.
        series_uid: which SeriesInstanceUID to read where there are several.

    Returns:
        Array (I, J, K) with rescale slope and intercept of each slice applied, larger is brighter
        (MONOCHROME1 is inverted); colour (I, J, K, 3) uint8. k ascends along the cross product of
        row and column direction; affine RAS mm. What was repaired or left out is in ``warnings``:
        files that are no image, localizers, odd sizes or orientations, repeated positions, gaps
        (kept, median spacing), missing spacing or position.

    Raises:
        NotFoundError: no such file or folder.
        ImageError: no image among the files, several series, a DICOMDIR, beyond the limits, or
            pixels that cannot be decoded.
    """
    limits = limits or ReadLimits()
    name, files = _files_of(source)
    planes, warnings = read_planes(files, limits)
    if not planes:
        raise no_image(name, warnings)
    stack = stack_planes(choose_series(planes, series_uid))
    first = stack.planes[0]
    limits.check((first.columns, first.rows, len(stack.planes)), name)
    affine = check_affine(stack.affine, name)
    array, replaced = finite_floats(_read_pixels(stack.planes), name)
    return Volume(
        array=array,
        affine=affine,
        modality=first.modality,
        body_part=first.body_part,
        warnings=(*warnings, *stack.warnings, *replaced),
    )


def _files_of(source: str | Path | Iterable[Path]) -> tuple[str, list[Path]]:
    """What to call the source in a message, and its files sorted by name."""
    if isinstance(source, str):
        source = Path(source)
    if not isinstance(source, Path):
        files = sorted(Path(path) for path in source)
        name = f"{len(files)} file(s)"
    elif source.is_dir():
        files = sorted(path for path in source.iterdir() if path.is_file())
        name = f"folder {source.name}"
    else:
        files, name = [source], source.name
    for path in files:
        if not path.is_file():
            raise NotFoundError(
                got=f"{path.name}, which does not exist",
                allowed="an image file, or a folder with the files of one DICOM series",
                todo="check the name",
            )
    if len(files) == 1 and is_dicomdir(files[0]):
        raise ImageError(
            got=f"{files[0].name}, a DICOMDIR",
            allowed="the image files of one series",
            todo="give the folder that holds the image files; a DICOMDIR is never opened, "
            "because it may point to any file of this computer",
        )
    return name, files


def _read_pixels(planes: Sequence[Plane]) -> Array:
    """(I, J, K) or (I, J, K, 3), i fastest in memory; each file is decoded once."""
    array: Array | None = None
    numbered = sorted(enumerate(planes), key=lambda pair: (str(pair[1].path), pair[1].frame))
    for path, members in groupby(numbered, key=lambda pair: pair[1].path):
        frames = decode_frames(path)
        for k, plane in members:
            if array is None:
                array = _empty_stack(planes, colour=frames.ndim == 4)
            if plane.frame >= len(frames) or frames[plane.frame].ndim != array.ndim - 1:
                raise ImageError(
                    got=f"{path.name}, whose pixels do not match its header or its series",
                    allowed="files of one kind, with the number of frames they announce",
                    todo="fetch the series again",
                )
            array[k] = rescale(frames[plane.frame], plane, array.dtype)
    assert array is not None  # a stack has at least one plane
    # (K, J, I[, 3]) in C order is (I, J, K[, 3]) with i fastest.
    return array.transpose(2, 1, 0, *range(3, array.ndim))


def _empty_stack(planes: Sequence[Plane], *, colour: bool) -> Array:
    shape = (len(planes), planes[0].rows, planes[0].columns)
    if colour:
        return np.empty((*shape, 3), dtype=np.uint8)
    return np.empty(shape, dtype=dtype_for(tuple(planes)))
