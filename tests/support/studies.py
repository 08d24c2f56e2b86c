"""Small images for tests, and random weights where only the form of an answer matters."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from lib.inference import Predictor
from lib.networks import build_sam, find_architecture
from lib.networks.checkpoint import save_weights
from lib.prompts import Prompt

OBLIQUE = "oblique"
"""A CT-like NIfTI: not square, anisotropic, rotated, left-handed."""
PLAIN = "plain ct"
"""A CT-like NIfTI with a space in its name."""
PICTURE = "photo"
"""A PNG."""
SHAPES = {OBLIQUE: (48, 36, 7), PLAIN: (40, 52, 9), PICTURE: (50, 30, 1)}
"""(I, J, K) of each."""


def oblique_affine() -> npt.NDArray[np.float64]:
    """Rotated by 20 degrees about z and 10 about x, spacing 0.7 x 1.3 x 4 mm, mirrored in i."""
    a, b = np.deg2rad(20), np.deg2rad(10)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-0.7, 1.3, 4.0])
    affine[:3, 3] = (12.5, -40.25, 300.0)
    return affine


def ct_like(shape: tuple[int, int, int], seed: int) -> npt.NDArray[np.int16]:
    """Air, a body and a bright disc that moves from slice to slice, in Hounsfield units."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    centre = np.array(shape[:2]) / 2
    body = np.hypot((i - centre[0]) / centre[0], (j - centre[1]) / centre[1]) < 0.85
    disc = np.hypot(i - centre[0] - k, j - centre[1]) < 6
    values = np.where(disc, 120.0, np.where(body, 20.0, -1000.0))
    return (values + rng.normal(0, 8, shape)).astype(np.int16)


def write_small_study(folder: Path) -> Path:
    """Write the three images into ``folder`` and return it."""
    affines = {OBLIQUE: oblique_affine(), PLAIN: np.diag([-0.9, -0.9, 2.5, 1.0])}
    for seed, (name, affine) in enumerate(affines.items()):
        nib.save(nib.Nifti1Image(ct_like(SHAPES[name], seed), affine), folder / f"{name}.nii.gz")
    width, height, _ = SHAPES[PICTURE]
    pixels = np.random.default_rng(2).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{PICTURE}.png")
    return folder


def write_random_weights(path: Path) -> Path:
    """Write an untrained samed2d_t, the same one every time.

    Of some seeds all masks are empty, which would show nothing of a mask's place; the first seed
    is taken whose masks are not.
    """
    image = ct_like(SHAPES[PLAIN], 1)[:, :, 4].T
    for seed in range(100):
        torch.manual_seed(seed)
        model = build_sam(find_architecture("samed2d_t"))
        predictor = Predictor(model)
        predictor.set_image(image)
        clicks = [Prompt(points=(p,), labels=(1,)) for p in ((20, 20), (10, 40), (30, 8))]
        shares = [answer.mask.mean() for answer in predictor.predict_batch(clicks)]
        if min(shares) > 0.1 and max(shares) < 0.9:
            save_weights(model, path)
            return path
    raise AssertionError("all masks are empty or full")
