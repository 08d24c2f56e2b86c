import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lib.errors import PromptError, RequestError
from lib.imaging.volume import ReadLimits
from lib.options import INTENSITIES, AppOptions
from lib.server import infer, label_file
from lib.server.drafts import Drafts
from lib.server.infer import Samed2dInferTask
from lib.server.models import ModelSpec, NetworkChoice
from lib.server.requests import ClickRequest
from lib.server.served_model import ServedModel
from lib.server.volumes import VolumeStore
from tests.server.clicks import label_array
from tests.support.studies import OBLIQUE, PICTURE, PLAIN, SHAPES

SPEC = ModelSpec("samed2d", "click", "Click.", 2, ("samed2d_t",))
OPTIONS = AppOptions(device="cpu", backend="torch", labels=("liver", "spleen"), intensity="lung")


@pytest.fixture(scope="module")
def task(random_weights):
    model = ServedModel(NetworkChoice("samed2d_t", random_weights), OPTIONS)
    return Samed2dInferTask(SPEC, OPTIONS, model, VolumeStore(1 << 30, ReadLimits()))


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def ask(task, small_study):
    def call(name=OBLIQUE, suffix=".nii.gz", **params):
        path, facts = task(
            {"model": "samed2d", "image": str(small_study / (name + suffix)), **params}
        )
        return Path(path), facts

    return call


def test_what_info_says(task):
    info = task.info()
    assert info["type"] == "deepgrow"
    assert info["dimension"] == 2
    assert info["labels"] == {"liver": 1, "spleen": 2}
    assert info["architecture"] == "samed2d_t"
    assert info["model_version"] == task.model.version
    assert info["version"] is None and info["version_problem"] is None
    assert task.is_valid()
    json.dumps(info)


def test_the_config_can_be_sent_back_as_it_is(task):
    assert task.config()["intensity"] == ["lung", *(n for n in INTENSITIES if n != "lung")]
    assert ClickRequest.parse(task.config()).intensity == "lung"


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz", ".nii"])
def test_the_answer_lies_on_the_image_and_on_one_slice(ask, small_study, extension):
    # This seed's random weights give a mask that is neither empty nor full.
    path, facts = ask(foreground=[[20, 17, 5]], result_extension=extension)
    answer = SimpleITK.ReadImage(str(path))
    image = SimpleITK.ReadImage(str(small_study / f"{OBLIQUE}.nii.gz"))
    assert path.name.endswith(extension)
    assert answer.GetSize() == image.GetSize()
    assert answer.GetPixelID() == SimpleITK.sitkUInt8
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(answer, name)(), getattr(image, name)(), atol=1e-5)
    labels = label_array(answer)
    assert set(np.unique(labels)) == {0, 1}
    assert np.flatnonzero(labels.any(axis=(0, 1))).tolist() == [5]
    assert facts["slice"] == 5


def test_the_mask_is_not_transposed(ask, task, small_study, monkeypatch):
    # A known mask through the whole way back: one pixel at column 30, row 4.
    def one_pixel(mask, *args, **kwargs):
        known = np.zeros_like(mask)
        known[4, 30] = True
        return write(known, *args, **kwargs)

    write = infer.write_answer
    monkeypatch.setattr(infer, "write_answer", one_pixel)
    path, _ = ask(foreground=[[1, 1, 2]])
    assert np.argwhere(label_array(SimpleITK.ReadImage(str(path)))).tolist() == [[30, 4, 2]]


def test_a_picture(ask):
    path, facts = ask(PICTURE, ".png", foreground=[[40, 10, 0]])
    assert SimpleITK.ReadImage(str(path)).GetSize() == SHAPES[PICTURE]
    assert facts["slice"] == 0


def test_the_facts(ask):
    _, facts = ask(foreground=[[20, 17, 6]], label="spleen")
    assert facts["label_names"] == {"spleen": 1}
    assert facts["label"] == "spleen"
    assert facts["model"] == "samed2d"
    assert facts["backend"]
    assert facts["device"] == "cpu"
    assert {"read", "encode", "decode", "write", "total"} <= set(facts["latencies"])
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_a_slice_is_encoded_once(ask):
    first, second = (ask(PLAIN, foreground=[[9, 9, 8]])[1] for _ in range(2))
    assert not first["encoded_before"]
    assert second["encoded_before"]


def test_the_same_click_gives_the_same_mask_whatever_came_between(ask):
    first = ask(foreground=[[20, 17, 5]])[0].read_bytes()
    ask(PLAIN, foreground=[[9, 9, 2]])
    assert ask(foreground=[[20, 17, 5]])[0].read_bytes() == first


def test_intensity_of_the_request_wins(ask):
    lung = ask(foreground=[[20, 17, 5]])[0].read_bytes()
    bone = ask(foreground=[[20, 17, 5]], intensity="bone")[0].read_bytes()
    assert lung != bone


def test_keys_of_the_host_are_no_keys_of_a_client(ask):
    ask(foreground=[[20, 17, 5]], description="x", session={"image": "y"})
    with pytest.raises(RequestError, match="'device_id'"):
        ask(foreground=[[20, 17, 5]], device_id=3)


def test_a_refused_click_leaves_no_file(ask, tmp_path):
    with pytest.raises(PromptError):
        ask(foreground=[[20, 17, 50]])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_no_file(ask, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(label_file, "write_nrrd_slices", full)
    with pytest.raises(OSError, match="No space"):
        ask(foreground=[[20, 17, 5]])
    assert list(tmp_path.iterdir()) == []


def test_uncertainty_is_a_number_and_a_map_on_the_clicked_slice(ask, small_study):
    _, facts = ask(foreground=[[20, 17, 5]], uncertainty=True)
    assert 0 <= facts["uncertainty"] <= 1
    answer = SimpleITK.ReadImage(facts["uncertainty_file"])
    image = SimpleITK.ReadImage(str(small_study / f"{OBLIQUE}.nii.gz"))
    assert answer.GetSize() == image.GetSize()
    values = label_array(answer)
    assert 0 < values.max() <= 100
    assert np.flatnonzero(values.any(axis=(0, 1))).tolist() == [5]
    again = ask(foreground=[[20, 17, 5]], uncertainty=True)[1]
    assert again["uncertainty"] == facts["uncertainty"]


def test_uncertainty_is_computed_only_where_it_was_asked_for(ask):
    _, facts = ask(foreground=[[20, 17, 5]])
    assert "uncertainty" not in facts and "uncertainty_file" not in facts


def test_corrections_and_boxes_have_an_uncertainty_as_well(ask):
    _, facts = ask(
        foreground=[[20, 17, 5], [22, 18, 5]],
        background=[[2, 2, 5]],
        roi=[5, 30, 5, 25, 5, 5],
        uncertainty=True,
    )
    assert 0 <= facts["uncertainty"] <= 1


def test_an_answer_is_noted_down_for_submit(ask, task, small_study, monkeypatch):
    monkeypatch.setattr(task, "drafts", Drafts())
    path, _ = ask(foreground=[[20, 17, 5]], as_label="spleen")
    mask = label_array(SimpleITK.ReadImage(str(path)))[:, :, 5].T
    draft = task.drafts.of(str(small_study / f"{OBLIQUE}.nii.gz"))
    np.testing.assert_array_equal(draft.masks["spleen"][5].unpack(), mask)
    assert draft.model_version == task.model.version


def test_the_label_of_the_viewer_goes_before_the_chosen_one(ask):
    _, facts = ask(foreground=[[20, 17, 5]], label="liver", as_label="spleen")
    assert facts["label"] == "liver"
    assert ask(foreground=[[20, 17, 5]], as_label="spleen")[1]["label"] == "spleen"
