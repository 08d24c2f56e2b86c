"""Voxel indices and millimetres: what a (4, 4) affine means, and its two conventions.

An affine maps the homogeneous voxel index ``(i, j, k, 1)`` (voxel centres at whole numbers) to
millimetres. Inside this project the millimetres are RAS as in NIfTI (x towards the patient's
right, y towards the front, z towards the head). DICOM, ITK and most NRRD files speak LPS, which
differs in the sign of x and y.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.errors import ImageError

Affine = npt.NDArray[np.float64]

LPS_TO_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns LPS millimetres into RAS ones and back (it is its own inverse)."""


def voxel_to_world(affine: Affine, voxels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Millimetres of voxel indices.

    Args:
        affine: (4, 4).
        voxels: (..., 3) indices (i, j, k), whole or fractional.

    Returns:
        (..., 3) millimetres in the convention of the affine.
    """
    points = np.asarray(voxels, dtype=np.float64)
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def world_to_voxel(affine: Affine, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Fractional voxel indices (..., 3) of millimetres (..., 3); inverse of `voxel_to_world`."""
    offset = np.asarray(points, dtype=np.float64) - affine[:3, 3]
    return np.asarray(np.linalg.solve(affine[:3, :3], offset[..., None])[..., 0])


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Distance in mm between neighbouring voxels along i, j and k."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def compose_affine(
    spacing: npt.ArrayLike, origin: npt.ArrayLike, direction: npt.ArrayLike
) -> Affine:
    """Affine of ITK's three parts, without a change of convention.

    Args:
        spacing: (3,) mm.
        origin: (3,) mm, centre of voxel (0, 0, 0).
        direction: (3, 3) or its nine numbers row by row; column a is the direction of axis a.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(np.asarray(direction, dtype=np.float64), (3, 3)) * np.asarray(
        spacing, dtype=np.float64
    )
    affine[:3, 3] = np.asarray(origin, dtype=np.float64)
    return affine


def check_affine(affine: npt.ArrayLike, name: str) -> Affine:
    """The affine as a float64 (4, 4) array, or an error that says what is wrong with it.

    Raises:
        ImageError: wrong shape, a number that is not finite, or voxels without a volume.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    problem = ""
    if matrix.shape != (4, 4):
        problem = f"an affine of shape {matrix.shape}"
    elif not np.isfinite(matrix).all():
        problem = "an affine with NaN or infinite numbers"
    elif not _spans_a_volume(matrix):
        problem = "an affine whose three axes do not span a volume"
    if problem:
        raise ImageError(
            got=f"{name} with {problem}",
            allowed="a (4, 4) matrix of finite numbers with three independent axes",
            todo="export the image again, or repair its orientation in the header",
        )
    return matrix


def _spans_a_volume(affine: Affine) -> bool:
    lengths = spacing_of(affine)
    if min(lengths) <= 0:
        return False
    return abs(float(np.linalg.det(affine[:3, :3] / lengths))) > 1e-6
