"""Small archives to build data sets from, and what describes them."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

AFFINE = np.array([[0.0, 1.1, 0, -20], [-1.0, 0, 0, 30], [0, 0, -1.4, 5], [0, 0, 0, 1]])
"""First axis runs to the back, second to the right-hand side, third downwards."""

DESCRIPTION = """
sources:
  - dataset: small
    kind: volume
    modality: mr_t1
    root: volumes
    images: "{case}_image.nii.gz"
    labels: "{case}_label.nii.gz"
    patient: "^(p[0-9]+)_"
    names: keep
    classes: {1: liver, 2: spleen, 7: null}
  - dataset: flat
    kind: picture
    modality: dermoscopy_00
    root: pictures
    images: "{case}.png"
    labels: "masks/{case}_{label}.png"
    names: keep
    classes: {mole: mole, hair: hair}
"""


def labelled_volume(
    seed: int, shape: tuple[int, int, int] = (30, 26, 20)
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Noise with blobs of labels 1, 2 and 7, some of them in two parts and some too small."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for value in (1, 1, 2, 2, 7):
        low = rng.integers(0, np.array(shape) - 8)
        high = low + rng.integers(2, 8, 3)
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = value
    labels[0, 0, 0] = 2
    noise = rng.integers(-300, 900, shape).astype(np.int16)
    return noise + 40 * labels, labels


def write_archive(folder: Path, cases: int = 4, broken: bool = False) -> Path:
    """Volumes, pictures and a description; returns the path of the description."""
    (folder / "volumes").mkdir(parents=True)
    (folder / "pictures" / "masks").mkdir(parents=True)
    for number in range(cases):
        image, labels = labelled_volume(number)
        name = f"p{number // 2}_scan{number}"
        for kind, array in (("image", image), ("label", labels)):
            file = nibabel.Nifti1Image(array, AFFINE)
            nibabel.save(file, folder / "volumes" / f"{name}_{kind}.nii.gz")
    if broken:
        path = folder / "volumes" / "p1_scan2_image.nii.gz"
        path.write_bytes(path.read_bytes()[:900])
    colours = np.random.default_rng(3).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(colours).save(folder / "pictures" / "skin.png")
    mole = np.zeros((40, 50), np.uint8)
    mole[5:20, 8:30], mole[30:36, 40:48] = 255, 255
    Image.fromarray(mole).save(folder / "pictures" / "masks" / "skin_mole.png")
    Image.fromarray(np.roll(mole, 3, axis=0)).save(folder / "pictures" / "masks" / "skin_hair.png")
    path = folder / "archive.yaml"
    path.write_text(DESCRIPTION)
    (folder / "archive.yaml.salt").write_text("0123456789abcdef\n")
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Everything in a data set but what the builder notes for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".build" not in path.parts
    }
