"""A data set without flaws, and one copy of it for each kind of flaw."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.check.check import CheckReport, check_folder
from lib.data.check.findings import KINDS
from lib.errors import NotFoundError

SHAPE = (64, 80)
CLASSES = {"one": {"liver": "0000", "spleen": "0001"}}


def name(case: int, z: int) -> str:
    return f"ct_00--one--case{case}--z_{z:04d}"


def blob(x: int, y: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[y : y + 20, x : x + 20] = 255
    return mask


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def load(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases of two slices with two masks each, split by patient."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    pairs, train, test = {}, {}, {}
    rng = np.random.default_rng(0)
    for case in range(3):
        for z in range(2):
            image = rng.integers(0, 256, SHAPE)
            save(folder / "images" / f"{name(case, z)}.png", np.repeat(image[..., None], 3, 2))
            masks = [f"{name(case, z)}--{n:04d}_000.png" for n in range(2)]
            for number, mask in enumerate(masks):
                save(folder / "masks" / mask, blob(5 + 30 * number, 8 + 3 * z))
            key = f"images/{name(case, z)}.png"
            pairs[key] = [f"masks/{mask}" for mask in masks]
            if case == 2:
                test |= {f"masks/{mask}": key for mask in masks}
            else:
                train[key] = pairs[key]
    for file, content in (
        ("SAMed2D_v1.json", pairs),
        ("SAMed2D_v1_class_mapping_id.json", CLASSES),
        ("image2label_train.json", train),
        ("label2image_test.json", test),
        ("patients.json", {f"one--case{n}": f"hash{n}" for n in range(3)}),
    ):
        (folder / file).write_text(json.dumps(content))
    return folder


def report(folder: Path, workers: int = 1) -> CheckReport:
    return check_folder(folder, workers, lambda done, total: None)


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_wrong(good: Path, workers: int) -> None:
    found = report(good, workers)
    assert found.findings == () and found.is_good
    assert (found.images, found.masks) == (6, 12)


IMAGE, OTHER = f"images/{name(0, 0)}.png", f"images/{name(2, 0)}.png"
MASK, SECOND = f"masks/{name(0, 0)}--0000_000.png", f"masks/{name(0, 0)}--0001_000.png"


def edited(file: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda folder: save(folder / file, change(load(folder / file)))


def listed(file: str, change: Callable[[dict], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return edit


def renamed(old: str, new: str) -> Callable[[Path], None]:
    """Another name, on disk and in the list."""

    def edit(folder: Path) -> None:
        (folder / old).rename(folder / new)
        path = folder / "SAMed2D_v1.json"
        path.write_text(path.read_text().replace(f'"{old}"', f'"{new}"'))
        for split in ("image2label_train.json", "label2image_test.json"):
            text = (folder / split).read_text()
            (folder / split).write_text(text.replace(f'"{old}"', f'"{new}"'))

    return edit


def cut_short(folder: Path) -> None:
    data = (folder / MASK).read_bytes()
    (folder / MASK).write_bytes(data[: len(data) // 2])


def two_parts(mask: np.ndarray) -> np.ndarray:
    split = mask.copy()
    split[50:60, 60:70] = 255
    return split


def one_point(mask: np.ndarray) -> np.ndarray:
    point = np.zeros_like(mask)
    point[3, 3:6] = 255
    return point


def copied(old: str, new: str, noise: int = 0) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        pixels = load(folder / old).astype(int)
        pixels[0, :noise] ^= 1
        save(folder / new, pixels)

    return edit


FLAWS: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    "missing mask": ("missing", MASK, lambda folder: (folder / MASK).unlink()),
    "missing image": ("missing", IMAGE, lambda folder: (folder / IMAGE).unlink()),
    "unlisted": (
        "unlisted",
        f"masks/{name(0, 0)}--0001_001.png",
        lambda folder: save(folder / f"masks/{name(0, 0)}--0001_001.png", blob(3, 3)),
    ),
    "broken": ("broken", MASK, cut_short),
    "broken image": ("broken", IMAGE, lambda folder: (folder / IMAGE).write_bytes(b"x" * 99)),
    # Of SA-Med2D-20M: "some masks differ in shape from the image".
    "shape": ("shape", MASK, edited(MASK, lambda mask: mask[:-1])),
    "turned": ("shape", MASK, edited(MASK, lambda mask: mask.T)),
    "empty": ("empty", MASK, edited(MASK, np.zeros_like)),
    # ichallenge_adam_task2.
    "inverted": ("inverted", MASK, edited(MASK, lambda mask: 255 - mask)),
    "two parts": ("multi_component", MASK, edited(MASK, two_parts)),
    "small": ("too_small", MASK, edited(MASK, one_point)),
    "ones": ("values", MASK, edited(MASK, lambda mask: mask // 255)),
    "same": ("same_mask", MASK, copied(SECOND, MASK)),
    # ACDC: the whole ventricle, and its parts.
    "overlap": (
        "overlap",
        MASK,
        lambda folder: save(folder / MASK, load(folder / MASK) | np.roll(load(folder / MASK), 15)),
    ),
    # Brain_PTM, QUBIQ.
    "binary": ("binary", IMAGE, edited(IMAGE, lambda image: image // 128 * 255)),
    "modality": (
        "modality",
        f"images/{name(0, 0)[2:]}.png",
        renamed(IMAGE, f"images/{name(0, 0)[2:]}.png"),
    ),
    "name": ("name", "images/ct_00--a.png", renamed(IMAGE, "images/ct_00--a.png")),
    "class": (
        "class",
        SECOND.replace("0001_", "0009_"),
        renamed(SECOND, SECOND.replace("0001_", "0009_")),
    ),
    "duplicate": (
        "duplicate",
        f"images/{name(0, 1)}.png",
        copied(IMAGE, f"images/{name(0, 1)}.png"),
    ),
    "look-alike": (
        "look_alike",
        f"images/{name(1, 0)}.png",
        copied(IMAGE, f"images/{name(1, 0)}.png", noise=2),
    ),
    "look-alike on the other side": ("leakage", OTHER, copied(IMAGE, OTHER, noise=2)),
    "patient on both sides": (
        "leakage",
        OTHER,
        listed("patients.json", lambda content: content.update({"one--case2": "hash1"})),
    ),
    "image on both sides": (
        "leakage",
        OTHER,
        listed("image2label_train.json", lambda content: content.update({OTHER: []})),
    ),
    "list": ("list", "SAMed2D_v1.json", lambda f: (f / "SAMed2D_v1.json").write_text("{")),
    "mapping": (
        "list",
        "SAMed2D_v1_class_mapping_id.json",
        lambda f: (f / "SAMed2D_v1_class_mapping_id.json").write_text("[3"),
    ),
}


@pytest.mark.parametrize("flaw", sorted(FLAWS))
def test_a_copy_with_one_flaw(good: Path, tmp_path: Path, flaw: str) -> None:
    kind, file, make = FLAWS[flaw]
    folder = tmp_path / "copy"
    shutil.copytree(good, folder)
    make(folder)
    found = report(folder)
    assert (kind, file) in {(finding.kind, finding.file) for finding in found.findings}
    assert found.is_good is (kind == "overlap")


def test_every_kind_is_tried() -> None:
    assert {kind for kind, _, _ in FLAWS.values()} == set(KINDS)


def test_without_lists_names_are_enough(good: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        shutil.copytree(good / folder, tmp_path / folder)
    found = report(tmp_path)
    assert (found.images, found.masks, found.findings) == (6, 12, ())


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        report(tmp_path)
