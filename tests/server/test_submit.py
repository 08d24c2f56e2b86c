from pathlib import Path

import nibabel
import numpy as np
import pytest

from lib.errors import RequestError
from lib.imaging.volume import ReadLimits, read_volume
from lib.server.drafts import Drafts
from lib.server.submit import SubmitTask
from lib.server.volumes import VolumeStore
from tests.support.studies import OBLIQUE, write_small_study


@pytest.fixture
def image(tmp_path):
    return str(write_small_study(tmp_path) / f"{OBLIQUE}.nii.gz")


@pytest.fixture
def drafts():
    return Drafts()


@pytest.fixture
def task(drafts):
    return SubmitTask(("liver", "spleen"), drafts, VolumeStore(1 << 20, ReadLimits()))


def plane(volume, row):
    mask = np.zeros((volume.shape[1], volume.shape[0]), dtype=bool)
    mask[row] = True
    return mask


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_it_answers_with_what_was_drawn(task, drafts, image, extension):
    volume = read_volume(Path(image), ReadLimits())
    drafts.draw(image, "spleen", {2: plane(volume, 4)}, clicks=2, model_version="m-1")
    drafts.draw(image, "cyst", {2: plane(volume, 6), 3: plane(volume, 0) & False})
    path, facts = task({"image": image, "result_extension": extension})
    found = read_volume(Path(path), ReadLimits())
    Path(path).unlink()
    np.testing.assert_allclose(found.affine, volume.affine, atol=1e-4)
    expected = np.zeros(volume.shape, dtype=np.uint8)
    expected[:, 4, 2] = 2
    expected[:, 6, 2] = 4
    np.testing.assert_array_equal(found.array, expected)
    assert facts["label_names"] == {"liver": 1, "spleen": 2, "object": 3, "cyst": 4}
    assert facts["reviewed"] == [2, 3]
    assert (facts["prompts"], facts["model_version"]) == (3, "")


def test_the_names_go_as_far_as_what_was_drawn(task, drafts, image):
    volume = read_volume(Path(image), ReadLimits())
    drafts.draw(image, "liver", {2: plane(volume, 4)})
    path, facts = task({"image": image})
    Path(path).unlink()
    assert facts["label_names"] == {"liver": 1}


def test_without_a_draft_nothing_is_overwritten(task, image):
    with pytest.raises(RequestError, match="nothing was drawn"):
        task({"image": image})


def test_the_viewer_sees_a_segmentation_model_with_values(task):
    info = task.info()
    assert info["type"] == "segmentation"
    assert info["labels"] == {"liver": 1, "spleen": 2, "object": 3}
    assert task.is_valid()


def test_an_unknown_key_is_refused(task, image):
    with pytest.raises(RequestError, match="colour"):
        task({"image": image, "colour": 1})


def test_the_geometry_survives_for_other_readers(task, drafts, image):
    volume = read_volume(Path(image), ReadLimits())
    drafts.draw(image, "liver", {0: plane(volume, 1)})
    path, _ = task({"image": image, "result_extension": ".nii.gz"})
    np.testing.assert_allclose(nibabel.load(path).affine, nibabel.load(image).affine, atol=1e-4)
    Path(path).unlink()
