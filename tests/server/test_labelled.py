"""Labelled images of a real folder datastore, and of a PACS in memory that fails in many ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from monailabel.datastore.local import LocalDatastore

from lib.data.labelled_slices import (
    EMPTY,
    NO_NUMBERS,
    NOTHING_HERE,
    OTHER_GRID,
    TOO_LARGE,
    TOO_SMALL,
    LabelledSlices,
)
from lib.imaging.nrrd import write_nrrd
from lib.imaging.volume import ReadLimits
from lib.server.host import SETTINGS
from lib.server.labelled import (
    GONE,
    IMAGE_GONE,
    IMAGE_UNREADABLE,
    UNREADABLE,
    read_labelled,
)

SHAPE = (40, 32, 6)
AFFINE = np.array([[-0.9, 0, 0, 20], [0, -0.8, 0, 30], [0, 0, 2.5, -7], [0, 0, 0, 1.0]])
INFO = {"label_info": [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 5}]}


def image_array() -> np.ndarray:
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def label_map() -> np.ndarray:
    """Liver on slices 2 and 3, spleen on slice 3; no symmetry that could hide a flip."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:12, 5:20, 2:4] = 1
    labels[20:30, 4:9, 3] = 2
    return labels


class Folder:
    """A folder datastore of the host with images a, b, ..., none of them labelled."""

    def __init__(self, root: Path, images: str = "a") -> None:
        self.root, self.part = root / "images", root / "part"
        self.root.mkdir()
        self.part.mkdir()
        for name in images:
            nibabel.save(nibabel.Nifti1Image(image_array(), AFFINE), self.root / f"{name}.nii.gz")
        self.store = LocalDatastore(
            str(self.root), extensions=SETTINGS["MONAI_LABEL_DATASTORE_FILE_EXT"]
        )

    def save(
        self,
        labels: np.ndarray,
        image: str = "a",
        affine: np.ndarray = AFFINE,
        info: dict[str, object] | None = None,
        tag: str = "final",
    ) -> Path:
        file = self.part / "label.nii.gz"
        nibabel.save(nibabel.Nifti1Image(labels, affine), file)
        return self.save_file(file, image, info, tag)

    def save_file(
        self,
        file: Path,
        image: str = "a",
        info: dict[str, object] | None = None,
        tag: str = "final",
    ) -> Path:
        label = self.store.save_label(image, str(file), tag, dict(INFO if info is None else info))
        return Path(self.store.get_label_uri(label, tag))

    def read(self, limits: ReadLimits | None = None) -> LabelledSlices:
        return read_labelled(self.store, limits or ReadLimits())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def drawn(found: LabelledSlices, image: str = "a") -> np.ndarray:
    """The label map again, from the masks and names."""
    values = {"liver": 1, "spleen": 2}
    labels = np.zeros(SHAPE, np.uint8)
    for part in found.images:
        name, k = part.name.split("#k")
        if name == image:
            for mask, label in zip(part.masks, part.labels, strict=True):
                labels[:, :, int(k)][mask.T] = values[label]
    return labels


def test_a_saved_label_comes_back(folder: Folder) -> None:
    folder.save(label_map())
    found = folder.read()
    assert found.skipped == ()
    np.testing.assert_array_equal(drawn(found), label_map())
    assert [part.name for part in found.images] == ["a#k0002", "a#k0003"]
    assert found.images[1].patient == "a"
    np.testing.assert_array_equal(found.images[1].image, image_array()[:, :, 3].T)


def test_nothing_labelled(folder: Folder) -> None:
    folder.save(label_map(), tag="original")
    assert folder.read() == LabelledSlices((), ())


def test_only_labelled_images_in_order_with_progress(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "cab")
    steps: list[tuple[int, int]] = []
    for image in "ca":
        folder.save(label_map(), image)
    found = read_labelled(folder.store, ReadLimits(), lambda *step: steps.append(step))
    assert [part.name[0] for part in found.images] == ["a", "a", "c", "c"]
    assert steps == [(1, 2), (2, 2)]


def test_nrrd_labels(folder: Folder) -> None:
    write_nrrd(folder.part / "label.nrrd", label_map(), AFFINE)
    folder.save_file(folder.part / "label.nrrd")
    np.testing.assert_array_equal(drawn(folder.read()), label_map())


@pytest.mark.parametrize("order", ["RAS", "LPI", "ASR", "IRP"])
def test_another_order_of_the_axes_is_undone(folder: Folder, order: str) -> None:
    image = nibabel.Nifti1Image(label_map(), AFFINE)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(order)
    )
    nibabel.save(image.as_reoriented(turn), folder.part / "label.nii.gz")
    folder.save_file(folder.part / "label.nii.gz")
    found = folder.read()
    assert found.skipped == ()
    np.testing.assert_array_equal(drawn(found), label_map())


def test_pictures(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), tmp_path / "images" / "a.png")
    store = LocalDatastore(
        str(tmp_path / "images"), extensions=SETTINGS["MONAI_LABEL_DATASTORE_FILE_EXT"]
    )
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 8:20] = 1
    sitk.WriteImage(sitk.GetImageFromArray(mask), tmp_path / "label.png")
    store.save_label("a", str(tmp_path / "label.png"), "final", dict(INFO))
    (part,) = read_labelled(store, ReadLimits()).images
    np.testing.assert_array_equal(part.masks[0], mask > 0)
    np.testing.assert_array_equal(part.image, picture)
    assert part.labels == ("liver",)


def test_names_as_far_as_they_are_known(folder: Folder) -> None:
    folder.save(label_map(), info={})
    assert {name for part in folder.read().images for name in part.labels} == {"label 1", "label 2"}
    folder.save(label_map(), info={"params": {"label_names": {"bone": 2}}})
    assert {name for part in folder.read().images for name in part.labels} == {"label 1", "bone"}


def test_reviewed_slices_without_a_label_are_counted(folder: Folder) -> None:
    folder.save(label_map(), info={**INFO, "params": {"reviewed": [0, 2, 5]}})
    assert folder.read().counts() == {NOTHING_HERE: 2}


def whole(value: int) -> np.ndarray:
    return np.full(SHAPE, value, np.uint8)


def with_one(value: float) -> np.ndarray:
    labels = label_map().astype(np.float32)
    labels[0, 0, 0] = value
    return labels


def speck() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 4, 4] = 1
    return labels


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (whole(0), EMPTY),
        (whole(1), TOO_LARGE),
        (speck(), TOO_SMALL),
        (label_map()[:, :, :5], OTHER_GRID),
        (label_map().transpose(1, 0, 2), OTHER_GRID),
        (np.stack([label_map()] * 2, axis=-1), UNREADABLE),
        (with_one(np.nan), NO_NUMBERS),
        (np.full(SHAPE, np.nan, np.float32), UNREADABLE),
        (with_one(0.5), NO_NUMBERS),
        (with_one(-1), NO_NUMBERS),
    ],
)
def test_bad_labels_are_counted_and_the_others_are_read(
    tmp_path: Path, labels: np.ndarray, reason: str
) -> None:
    folder = Folder(tmp_path, "ab")
    folder.save(labels)
    folder.save(label_map(), "b")
    found = folder.read()
    assert set(found.counts()) == {reason}
    assert {skipped.image for skipped in found.skipped} == {"a"}
    np.testing.assert_array_equal(drawn(found, "b"), label_map())


@pytest.mark.parametrize("change", [np.diag([1, 1, 1.1, 1]), np.diag([1, 1, -1, 1.0])])
def test_another_place_in_space_is_another_grid(folder: Folder, change: np.ndarray) -> None:
    folder.save(label_map(), affine=AFFINE @ change)
    assert folder.read().counts() == {OTHER_GRID: 1}


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    path.write_bytes(b"no image at all")


@pytest.mark.parametrize(
    ("harm", "of_label", "of_image"),
    [
        (remove, GONE, IMAGE_GONE),
        (cut, UNREADABLE, IMAGE_UNREADABLE),
        (scribble, UNREADABLE, IMAGE_UNREADABLE),
    ],
)
def test_lost_and_damaged_files(
    tmp_path: Path, harm: Callable[[Path], None], of_label: str, of_image: str
) -> None:
    folder = Folder(tmp_path, "abc")
    harm(folder.save(label_map(), "a"))
    folder.save(label_map(), "b")
    harm(folder.root / "b.nii.gz")
    folder.save(label_map(), "c")
    found = folder.read()
    assert [(part.image, part.reason) for part in found.skipped] == [
        ("a", of_label),
        ("b", of_image),
    ]
    assert found.skipped[0].detail
    np.testing.assert_array_equal(drawn(found, "c"), label_map())


def test_too_large_images_are_not_opened(folder: Folder) -> None:
    folder.save(label_map())
    found = folder.read(ReadLimits(max_voxels=100))
    assert found.counts() == {IMAGE_UNREADABLE: 1}
    assert "max_voxels" in found.skipped[0].detail
