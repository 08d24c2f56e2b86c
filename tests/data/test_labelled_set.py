"""A data set in memory, as labelled slices."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.labelled_set import UNREADABLE, read_labelled_set
from lib.data.labelled_slices import TOO_LARGE, TOO_LONG, TOO_SMALL, LabelledSlices
from lib.data.sa_med2d import masks_by_image
from lib.data.shards.stream import Pictures, Shards
from lib.errors import ImageError
from tests.support.datasets import build_small, pack_small


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small(tmp_path_factory.mktemp("dataset"))


def test_shards_and_pictures_give_the_same(dataset: Path, tmp_path: Path) -> None:
    packed = read_labelled_set(Shards(pack_small(dataset, tmp_path)))
    flat = read_labelled_set(Pictures(dataset))
    assert packed.digest == flat.digest and len(flat.images) == len(masks_by_image(dataset))
    names = [image.name for image in flat.images]
    assert names == sorted(names) == [image.name for image in packed.images]
    patients = json.loads((dataset / "patients.json").read_text())
    assert {image.patient for image in flat.images} == set(patients.values())
    assert flat.skipped == ()


def copy_of(dataset: Path, folder: Path, count: int) -> list[tuple[Path, Path]]:
    """Some images with one mask each, in another folder; their paths there."""
    chosen = [(image, masks[0]) for image, masks in masks_by_image(dataset).items()][:count]
    for path in (path for pair in chosen for path in pair):
        target = folder / path.relative_to(dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return [tuple(folder / path.relative_to(dataset) for path in pair) for pair in chosen]


def save_block(path: Path, size: tuple[int, int], share: float) -> None:
    mask = np.zeros(size, np.uint8)
    mask.ravel()[: max(1, round(share * mask.size))] = 255
    Image.fromarray(mask).save(path)


def read(folder: Path) -> LabelledSlices:
    return read_labelled_set(Pictures(folder))


def test_what_cannot_be_learned_from_is_left_out_with_its_reason(
    dataset: Path, tmp_path: Path
) -> None:
    pairs = copy_of(dataset, tmp_path, 5)
    save_block(pairs[0][1], Image.open(pairs[0][0]).size[::-1], 0.9)
    Image.new("L", (40, 40), 7).save(pairs[1][0])
    save_block(pairs[1][1], (40, 40), 0.0)
    Image.new("L", (50, 10), 7).save(pairs[2][0])
    save_block(pairs[2][1], (10, 50), 0.3)
    pairs[3][1].write_bytes(b"broken")
    found = read(tmp_path)
    assert [image.name for image in found.images] == [pairs[4][0].stem]
    reasons = {skipped.reason for skipped in found.skipped}
    assert reasons == {TOO_LARGE, TOO_SMALL, TOO_LONG, UNREADABLE}


def test_one_mask_of_several_may_be_left_out(dataset: Path, tmp_path: Path) -> None:
    ((image, mask),) = copy_of(dataset, tmp_path, 1)
    second = mask.with_name(f"{image.stem}--0009_000.png")
    save_block(second, Image.open(image).size[::-1], 0.9)
    found = read(tmp_path)
    assert [labelled.labels for labelled in found.images] == [
        (mask.stem.rpartition("--")[2].split("_")[0],)
    ]
    assert [(s.label, s.reason) for s in found.skipped] == [("0009", TOO_LARGE)]


def test_nothing_usable(dataset: Path, tmp_path: Path) -> None:
    ((_, mask),) = copy_of(dataset, tmp_path, 1)
    mask.write_bytes(b"broken")
    with pytest.raises(ImageError, match="can be used"):
        read(tmp_path)


def test_too_large_for_memory(dataset: Path) -> None:
    with pytest.raises(ImageError, match=r"scripts/pretrain\.py"):
        read_labelled_set(Pictures(dataset), most_bytes=20_000)
