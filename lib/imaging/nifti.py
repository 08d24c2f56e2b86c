"""NIfTI-1 and NIfTI-2 files (.nii, .nii.gz), read with nibabel into the file's own grid.

Where a header holds two orientations (qform and sform) or none, the choice is that of ITK, because
viewers and MONAI Label read NIfTI with ITK and an answer must lie on their image:

* sform where its code says "scanner" and it has no shear,
* else qform where it is set,
* else sform (also with shear, which ITK refuses),
* else the voxel sizes alone, axes along left, posterior, superior, origin 0.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import nibabel
import numpy as np

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, Affine, check_affine, spacing_of
from lib.imaging.deflate import read_to_end
from lib.imaging.grid import Array, ReadLimits, Volume, finite_floats, reading, spatial_shape

_nib: Any = nibabel  # its annotations are partial
_Image: TypeAlias = Any  # nibabel.Nifti1Image or its subclass Nifti2Image
_Header: TypeAlias = Any
_SCANNER = 1
_NIFTI2_LENGTH = 540
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


def read_nifti(path: Path, limits: ReadLimits) -> Volume:
    """A 2D or 3D NIfTI image: array (I, J, K) or RGB (I, J, K, 3), affine RAS mm.

    The intensity scaling of the header (scl_slope, scl_inter) is applied; whole numbers without
    scaling keep their type, everything else becomes float32.

    Raises:
        ImageError: not NIfTI, damaged, a time series, or beyond the limits.
    """
    with reading(path, "NIfTI"), _open(path) as file:
        image = _kind(file).from_stream(file)
        shape = spatial_shape(image.shape, path.name)
        limits.check(shape, path.name)
        affine = check_affine(_affine_as_itk(image.header), path.name)
        array, warnings = finite_floats(_read_array(image, shape, path), path.name)
        read_to_end(file)
    return Volume(array, affine, warnings=warnings)


def read_nifti_grid(path: Path, limits: ReadLimits) -> tuple[Affine, tuple[int, int, int]]:
    """Affine (4, 4) RAS mm and shape (I, J, K) of a NIfTI image, from its header alone.

    Raises:
        ImageError: not NIfTI, a time series, or beyond the limits.
    """
    with reading(path, "NIfTI"), _open(path) as file:
        image = _kind(file).from_stream(file)
        shape = spatial_shape(image.shape, path.name)
        limits.check(shape, path.name)
        return check_affine(_affine_as_itk(image.header), path.name), shape


def write_nifti(path: Path, array: Array, affine: Affine) -> None:
    """Write (I, J, K) as .nii or .nii.gz with its RAS affine in sform and qform."""
    image = _nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER)
    image.set_qform(affine, code=_SCANNER, strip_shears=True)
    _nib.save(image, path)


def _open(path: Path) -> BinaryIO:
    """The uncompressed bytes, whether the name ends in .gz or not."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _kind(file: BinaryIO) -> type[Any]:
    """NIfTI-1 or NIfTI-2, by the length of the header, which the header begins with."""
    length = file.read(4)
    file.seek(0)
    is_two = _NIFTI2_LENGTH in (int.from_bytes(length, "little"), int.from_bytes(length, "big"))
    return cast(type[Any], nibabel.Nifti2Image if is_two else nibabel.Nifti1Image)


def _read_array(image: _Image, shape: tuple[int, int, int], path: Path) -> Array:
    proxy = image.dataobj
    stored: Array = np.asanyarray(proxy.get_unscaled())
    if stored.dtype.names is not None:
        channels = [stored[name].reshape(shape, order="F") for name in ("R", "G", "B")]
        return np.stack(channels, axis=-1)
    if stored.dtype.kind not in "iuf":
        raise ImageError(
            got=f"{path.name} with values of type {stored.dtype}",
            allowed="whole numbers, floats or RGB",
            todo="export the magnitude image",
        )
    stored = stored.reshape(shape, order="F")
    if (proxy.slope, proxy.inter) != (1.0, 0.0):
        return stored.astype(np.float32) * np.float32(proxy.slope) + np.float32(proxy.inter)
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _affine_as_itk(header: _Header) -> Affine:
    sform, s_code = header.get_sform(coded=True)
    qform, q_code = header.get_qform(coded=True)
    if s_code == _SCANNER and (not q_code or not _is_sheared(sform)):
        affine = sform
    elif q_code:
        affine = qform
    elif s_code:
        affine = sform
    else:
        zooms = (*header.get_zooms()[:3], 1.0, 1.0)[:3]
        affine = LPS_TO_RAS @ np.diag([*zooms, 1.0])
    scale = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    return np.asarray(np.diag([scale, scale, scale, 1.0]) @ np.asarray(affine, dtype=np.float64))


def _is_sheared(affine: Affine) -> bool:
    axes = affine[:3, :3] / np.maximum(spacing_of(affine), 1e-30)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3)
