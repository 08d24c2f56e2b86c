"""Folders in the form of SA-Med2D-20M."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.sa_med2d import (
    NameFacts,
    class_of,
    is_sa_med2d,
    masks_by_image,
    name_facts,
    read_image,
    read_mask,
)
from lib.errors import ImageError

NAME = "mr_t1--BraTS2021--BraTS2021_00218--z_0141"


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_what_a_name_says() -> None:
    assert name_facts(NAME) == NameFacts("mr_t1", "BraTS2021--BraTS2021_00218")
    assert name_facts("picture") == NameFacts("", "picture")
    assert class_of(f"{NAME}--0011_000", NAME) == "0011"


def test_without_a_list_names_tell_what_belongs_together(tmp_path: Path) -> None:
    blank = np.zeros((4, 5), np.uint8)
    for mask in (f"{NAME}--0011_001", f"{NAME}--0011_000", "x--a--b--2d_none--0000_000"):
        write(tmp_path / "masks" / f"{mask}.png", blank)
    (tmp_path / "images").mkdir()
    assert is_sa_med2d(tmp_path)
    found = masks_by_image(tmp_path)
    assert [path.name for path in found] == [f"{NAME}.png", "x--a--b--2d_none.png"]
    first = found[tmp_path / "images" / f"{NAME}.png"]
    assert [path.name for path in first] == [f"{NAME}--0011_000.png", f"{NAME}--0011_001.png"]


def test_not_of_this_form(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert not is_sa_med2d(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("SAMed2D_v1.json", {"images/a.png": ["masks/a--1_0.png", "masks/a--2_0.png"]}),
        (
            "label2image_test.json",
            {f"data_demo/masks/a--{n}_0.png": "data_demo/images/a.png" for n in (2, 1)},
        ),
    ],
)
def test_lists(tmp_path: Path, name: str, content: dict[str, object]) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    masks = tmp_path / "masks"
    expected = {tmp_path / "images" / "a.png": (masks / "a--1_0.png", masks / "a--2_0.png")}
    assert masks_by_image(tmp_path) == expected


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 3}', '{"a": [3]}', '"a"'])
def test_a_damaged_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "SAMed2D_v1.json").write_text(text)
    with pytest.raises(ImageError, match=r"SAMed2D_v1\.json"):
        masks_by_image(tmp_path)


def test_pictures_keep_rows_and_columns(tmp_path: Path) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    np.testing.assert_array_equal(read_image(write(tmp_path / "g.png", grey)), grey)
    equal = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_image(write(tmp_path / "e.png", equal)), grey)
    colour = np.stack([grey, grey + 1, grey + 2], axis=2)
    np.testing.assert_array_equal(read_image(write(tmp_path / "c.png", colour)), colour)


def test_masks(tmp_path: Path) -> None:
    mask = np.zeros((4, 5), np.uint8)
    path = write(tmp_path / "m.png", mask)
    with pytest.raises(ImageError, match="empty"):
        read_mask(path, (4, 5))
    mask[1, 2] = 255
    write(path, mask)
    np.testing.assert_array_equal(read_mask(path, (4, 5)), mask > 0)
    with pytest.raises(ImageError, match=r"\(4, 5\)"):
        read_mask(path, (5, 4))
    (tmp_path / "broken.png").write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageError, match=r"broken\.png"):
        read_mask(tmp_path / "broken.png", (4, 5))
