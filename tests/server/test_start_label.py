"""Clicks that start from a label map."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from lib.errors import ImageError, PromptError
from lib.imaging.grid import Volume
from lib.imaging.volume import read_volume
from lib.prompts import Prompt
from lib.server.start_label import StartLabel, start_label, start_slice
from tests.server.clicks import label_array, post_infer, read_answer
from tests.support.server import RunningServer, start_server
from tests.support.studies import PLAIN, SHAPES

CLICK = {"foreground": [[20, 26, 4]], "label": "liver"}
AFFINE = np.diag([-0.9, -0.9, 2.5, 1.0])
NAMES = {"liver": 1, "spleen": 2}


def label_map() -> np.ndarray:
    """A square of 1 and, beside it, one of 2, on slices 3 to 5."""
    labels = np.zeros(SHAPES[PLAIN], np.uint8)
    labels[12:22, 20:32, 3:6] = 1
    labels[22:30, 20:32, 3:6] = 2
    return labels


def volume_of(array: np.ndarray, affine: np.ndarray = AFFINE) -> Volume:
    return Volume(array, affine)


IMAGE = volume_of(np.zeros(SHAPES[PLAIN], np.int16))
PROMPT = Prompt(points=((20, 26),), labels=(1,))


def test_the_clicked_labels_part_is_the_mask_to_start_from() -> None:
    start = start_label(volume_of(label_map()), NAMES, IMAGE, 4, "spleen")
    mask = start.before(PROMPT).mask
    assert mask is not None
    np.testing.assert_array_equal(mask, label_map()[:, :, 4].T == 2)
    assert start.before(PROMPT).points == PROMPT.points
    everything = np.ones(mask.shape, bool)
    np.testing.assert_array_equal(start.keep_others(everything), label_map()[:, :, 4].T != 1)


def test_a_slice_without_the_label_gives_no_start() -> None:
    start = start_label(volume_of(label_map()), NAMES, IMAGE, 8, "spleen")
    assert start.before(PROMPT) is PROMPT


def test_the_clicked_slice_may_come_alone(tmp_path: Path) -> None:
    plane = (label_map()[:, :, 4] == 2).astype(np.uint8)
    file = tmp_path / "slice.bin"
    file.write_bytes(plane.tobytes("F"))
    mask = start_slice(file, IMAGE).before(PROMPT).mask
    assert mask is not None
    np.testing.assert_array_equal(mask, plane.T)


def test_a_slice_of_another_size_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "slice.bin"
    file.write_bytes(bytes(10))
    with pytest.raises(ImageError, match=r"mask of 10 bytes.*40 x 52 bytes"):
        start_slice(file, IMAGE)


def test_one_value_needs_no_name() -> None:
    single = np.where(label_map() == 2, 7, 0).astype(np.uint8)
    start = start_label(volume_of(single), {}, IMAGE, 4, None)
    mask = start.before(PROMPT).mask
    assert mask is not None
    assert mask.sum() == (single[:, :, 4] > 0).sum()
    everything = np.ones(mask.shape, bool)
    assert start.keep_others(everything).all()


def test_several_values_need_a_name() -> None:
    with pytest.raises(PromptError, match=r"1, 2.*'lung'"):
        start_label(volume_of(label_map()), NAMES, IMAGE, 4, "lung")


@pytest.mark.parametrize(
    "label",
    [
        volume_of(label_map()[:-1]),
        volume_of(label_map(), np.diag([-0.9, 0.9, 2.5, 1.0])),
        volume_of(label_map(), np.diag([-0.9, -0.9, 2.6, 1.0])),
    ],
)
def test_another_grid_is_refused(label: Volume) -> None:
    with pytest.raises(ImageError, match="own grid"):
        start_label(label, NAMES, IMAGE, 4, "liver")


def test_start_label_values_are_exact() -> None:
    assert StartLabel(np.zeros((2, 2), np.int64), 1).before(PROMPT) is PROMPT


@pytest.fixture(scope="module")
def labelled_server(
    random_weights: Path, small_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server of its own, because labels are saved."""
    studies = tmp_path_factory.mktemp("labelled")
    shutil.copy(small_study / f"{PLAIN}.nii.gz", studies)
    conf = {"architecture": "samed2d_t", "checkpoint": str(random_weights)}
    with start_server(studies, conf=conf) as server:
        yield server


def mask_of(answer: requests.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return label_array(read_answer(answer.content))[:, :, 4] > 0


def segment(server: RunningServer, file: Path | None = None, **extra: object) -> np.ndarray:
    files = {} if file is None else {"label": (file.name, file.read_bytes())}
    answer = post_infer(server, {**CLICK, **extra}, PLAIN, files=files, output="image")
    return mask_of(answer)


@pytest.mark.server
def test_saved_or_sent_along_over_http(labelled_server: RunningServer, tmp_path: Path) -> None:
    server = labelled_server
    grid = read_volume(_image_of(server, tmp_path)).affine
    file = tmp_path / "labels.nii.gz"
    nib.save(nib.Nifti1Image(np.where(label_map() == 1, 1, 0).astype(np.uint8), grid), file)
    plain = segment(server)
    sent = segment(server, file)
    assert (plain != sent).any()
    alone = tmp_path / "slice.bin"
    alone.write_bytes((label_map()[:, :, 4] == 1).astype(np.uint8).tobytes("F"))
    np.testing.assert_array_equal(segment(server, alone), sent)
    # Nothing was saved so far, so there is nothing to start from.
    np.testing.assert_array_equal(segment(server, start="saved"), plain)
    two = tmp_path / "two.nii.gz"
    nib.save(nib.Nifti1Image(label_map(), grid), two)
    saved = requests.put(
        f"{server.url}/datastore/label",
        params={"image": PLAIN},
        data={"params": '{"label_info": [{"name": "liver", "idx": 1}, {"name": "spleen"}]}'},
        files={"label": (two.name, two.read_bytes())},
        timeout=60,
    )
    assert saved.status_code == 200, saved.text
    np.testing.assert_array_equal(segment(server, start="saved"), sent)
    kept = segment(server, start="saved", overlap="keep")
    np.testing.assert_array_equal(kept, sent & (label_map()[:, :, 4] != 2))
    # Whatever is sent along goes before what is saved, and stays with later points.
    more = [[20, 26, 4], [24, 22, 4]]
    both = segment(server, file, foreground=more)
    assert (both != segment(server, foreground=more)).any()
    np.testing.assert_array_equal(segment(server, start="saved", foreground=more), both)


@pytest.mark.server
def test_clients_cannot_name_a_file_themselves(labelled_server: RunningServer) -> None:
    plain = segment(labelled_server)
    own = segment(labelled_server, start_label="/etc/passwd", start_names={"liver": 1})
    np.testing.assert_array_equal(own, plain)


@pytest.mark.server
def test_a_volume_does_not_start_from_a_label(
    labelled_server: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "labels.nii.gz"
    nib.save(nib.Nifti1Image(label_map(), AFFINE), file)
    answer = post_infer(
        labelled_server,
        CLICK,
        PLAIN,
        model="samed2d_volume",
        files={"label": (file.name, file.read_bytes())},
    )
    assert answer.status_code == 400
    assert "samed2d takes a label map" in answer.text


def _image_of(server: RunningServer, folder: Path) -> Path:
    answer = requests.get(f"{server.url}/datastore/image", params={"image": PLAIN}, timeout=60)
    path = folder / "image.nii.gz"
    path.write_bytes(answer.content)
    return path
