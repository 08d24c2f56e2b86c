"""The requests of OHIF, Slicer and MONAI Label's own client, against a real server."""

import gzip
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
import SimpleITK
from monailabel.client import MONAILabelClient

from tests.server.clicks import (
    OHIF_ECHO,
    label_array,
    ohif_click,
    post_infer,
    read_answer,
)
from tests.support.server import start_server
from tests.support.studies import OBLIQUE, PICTURE, PLAIN, SHAPES, write_small_study

pytestmark = pytest.mark.server


@pytest.fixture
def client(server, tmp_path):
    """Slicer's client."""
    return MONAILabelClient(server.url, str(tmp_path), "user-xyz")


@pytest.fixture
def config(client):
    """What Slicer sends along of a model's config: of a list its first item."""
    config = client.info()["models"]["samed2d"]["config"]
    return {key: value[0] if isinstance(value, list) else value for key, value in config.items()}


def slices_of(labels):
    return np.flatnonzero(labels.any(axis=(0, 1))).tolist()


def test_info(server):
    info = server.info()
    assert info["labels"] == ["liver", "left kidney", "spleen"]
    model = info["models"]["samed2d"]
    assert (model["type"], model["dimension"]) == ("deepgrow", 2)
    assert model["labels"] == {"liver": 1, "left kidney": 2, "spleen": 3}
    assert model["weights"] == "random.safetensors"
    assert model["model_version"].startswith("samed2d_t-")
    assert "random" in info["strategies"]
    assert info["datastore"]["total"] == 3


@pytest.mark.parametrize("image", [OBLIQUE, PLAIN])
def test_ohif(server, image):
    answer = ohif_click(server, image, [20, 17, 5])
    assert answer.status_code == 200, answer.text
    header, data = answer.content.split(b"\n\n", 1)
    # OHIF's reader goes by these lines and takes the bytes with i fastest.
    assert header.startswith(b"NRRD")
    assert b"encoding: gzip" in header
    assert b"type: u" in header
    raw = np.frombuffer(gzip.decompress(data), dtype=np.uint8)
    labels = raw.reshape(SHAPES[image], order="F")
    assert slices_of(labels) == [5]
    assert set(np.unique(labels)) == {0, 1}
    np.testing.assert_array_equal(labels, label_array(read_answer(answer.content)))
    assert len(answer.content) < labels.size / 4


def test_ohif_after_the_options_dialog(server):
    # Confirm sends the options of the dialog, and everything sent before is in the same object.
    params = {"foreground": [[20, 17, 5]], "background": [], **OHIF_ECHO}
    params |= {"device": "cpu", "intensity": "bone"}
    assert post_infer(server, params, PLAIN, output="image").status_code == 200


def test_slicer(client, config, server):
    params = {
        "label": "left kidney",
        "foreground": [[20, 17, 3], [22, 19, 3]],
        "background": [[2, 2, 3]],
        **config,
        "roi": [30, 10, 40, 8, 4, 2],
        "slice": 3,
        "reset_state": True,
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
    }
    path, facts = client.infer("samed2d", PLAIN, params)
    answer = SimpleITK.ReadImage(path)
    assert slices_of(label_array(answer)) == [3]
    assert facts["label_names"] == {"left kidney": 1}
    assert facts["slice"] == 3
    model = server.info()["models"]["samed2d"]
    assert facts["model_version"] == model["model_version"]
    assert {"backend", "device", "iou"} <= set(facts)
    assert {"read", "encode", "decode", "write", "total"} <= set(facts["latencies"])


def test_slicer_reads_the_geometry(client, small_study):
    path, _ = client.infer("samed2d", OBLIQUE, {"foreground": [[20, 17, 5]]})
    answer = SimpleITK.ReadImage(path)
    image = SimpleITK.ReadImage(str(small_study / f"{OBLIQUE}.nii.gz"))
    assert answer.GetSize() == image.GetSize()
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(answer, name)(), getattr(image, name)(), atol=1e-5)


def test_slicer_on_slice_zero_sends_the_points_of_all_slices(client, config):
    params = {"label": "liver", "foreground": [[20, 17, 0], [20, 17, 6]], "background": []}
    path, facts = client.infer("samed2d", PLAIN, {**params, **config, "slice": 0})
    assert facts["slice"] == 0
    assert slices_of(label_array(SimpleITK.ReadImage(path))) == [0]


def test_slicer_with_a_roi_and_no_click(client, config):
    # The slice comes from millimetres and lies outside of the volume.
    params = {"label": "liver", "foreground": [], "background": [], **config}
    _, facts = client.infer("samed2d", PLAIN, {**params, "roi": [30, 10, 40, 8, 6, 2], "slice": 61})
    assert facts["slice"] == 4


def test_a_picture(client):
    path, _ = client.infer("samed2d", PICTURE, {"foreground": [[40, 10, 0]]})
    assert SimpleITK.ReadImage(path).GetSize() == SHAPES[PICTURE]


def test_json_alone(server):
    answer = post_infer(server, {"foreground": [[20, 17, 5]]}, PLAIN, output="json")
    assert answer.json()["slice"] == 5


def test_nifti_alone(server):
    params = {"foreground": [[20, 17, 5]], "result_extension": ".nii.gz"}
    answer = post_infer(server, params, PLAIN, output="image")
    assert read_answer(answer.content, ".nii.gz").GetSize() == SHAPES[PLAIN]


def test_a_session(client, small_study):
    session = client.create_session(str(small_study / f"{OBLIQUE}.nii.gz"))["session_id"]
    assert client.get_session(session)["name"] == session
    # Slicer names the image of the session, which the datastore does not know.
    path, _ = client.infer(
        "samed2d", "not in the store", {"foreground": [[20, 17, 5]]}, session_id=session
    )
    assert SimpleITK.ReadImage(path).GetSize() == SHAPES[OBLIQUE]
    client.remove_session(session)
    answer = requests.post(
        f"{client.get_server_url()}/infer/samed2d", params={"session_id": session}, timeout=60
    )
    assert answer.status_code == 404


def test_a_file_sent_along(server, small_study):
    with (small_study / f"{OBLIQUE}.nii.gz").open("rb") as file:
        files = {"file": ("Scan of today.nii.gz", file)}
        params = {"foreground": [[20, 17, 5]]}
        answer = post_infer(server, params, None, files=files, output="image")
    assert read_answer(answer.content).GetSize() == SHAPES[OBLIQUE]


def test_next_sample(client):
    sample = client.next_sample("random", {})
    assert sample["id"] in SHAPES
    assert Path(sample["path"]).exists()


def test_datastore_list(client):
    assert set(client.datastore()["objects"]) == set(SHAPES)


def test_two_users_get_their_own_answers(server):
    clicks = [(OBLIQUE, [20, 17, 5]), (PLAIN, [9, 30, 2]), (PLAIN, [25, 12, 7])]
    alone = [ohif_click(server, image, point).content for image, point in clicks]
    assert len(set(alone)) == 3
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda n: ohif_click(server, *clicks[n % 3]).content, range(18)))
    assert together == alone * 6


def temporary_files(server):
    """Names in the server's temporary folder, once the files of sent answers are removed."""
    for _ in range(100):
        names = sorted(path.name for path in (server.home / "tmp").iterdir())
        if not [name for name in names if name.startswith("samed2d")]:
            break
        # The web server removes the file of an answer after the client has it.
        time.sleep(0.1)
    return names


def test_no_temporary_file_is_left(server, small_study):
    image = (small_study / f"{PLAIN}.nii.gz").read_bytes()
    before = temporary_files(server)
    ohif_click(server, PLAIN, [20, 17, 5])
    for output in ("json", "all"):
        post_infer(server, {"foreground": [[20, 17, 5]]}, PLAIN, output=output)
    for params in ({"foreground": [[20, 17, 5]]}, {"foreground": [[99, 99, 99]]}, "{"):
        post_infer(server, params, None, files={"file": ("a.nii.gz", image)})
    post_infer(server, {"foreground": [[1, 1, 1]]}, None, files={"file": ("a.nii", b"no image")})
    assert temporary_files(server) == before


@pytest.fixture(scope="module")
def own_server(tmp_path_factory, random_weights):
    """A server on a study that tests may change, and the study's folder."""
    study = write_small_study(tmp_path_factory.mktemp("own study"))
    conf = {"architecture": "samed2d_t", "checkpoint": str(random_weights)}
    with start_server(study, conf=conf) as running:
        yield running, study


def test_labels_round_trip(own_server, tmp_path):
    server, study = own_server
    client = MONAILabelClient(server.url, str(tmp_path))
    path, _ = client.infer("samed2d", PLAIN, {"foreground": [[20, 17, 5]], "label": "liver"})
    sent = label_array(SimpleITK.ReadImage(path))
    label = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(sent, nib.load(study / f"{PLAIN}.nii.gz").affine), label)
    client.save_label(PLAIN, str(label), params={"label_info": [{"name": "liver", "idx": 1}]})
    stored = client.download_label(PLAIN, "final")
    np.testing.assert_array_equal(label_array(SimpleITK.ReadImage(stored)), sent)
    assert client.info()["datastore"]["completed"] == 1
    assert client.next_sample("random", {})["id"] != PLAIN


def test_an_answer_can_be_kept_by_the_server(own_server, tmp_path):
    client = MONAILabelClient(own_server[0].url, str(tmp_path))
    params = {"foreground": [[20, 17, 5]], "save_label": True, "label_tag": "original"}
    client.infer("samed2d", OBLIQUE, params)
    kept = client.datastore()["objects"][OBLIQUE]["labels"]["original"]["info"]
    assert kept["params"]["label_names"] == {"object": 1}
    stored = client.download_label(OBLIQUE, "original")
    assert slices_of(label_array(SimpleITK.ReadImage(stored))) == [5]


def test_an_image_that_is_replaced_while_the_server_runs(own_server, tmp_path):
    server, study = own_server
    client = MONAILabelClient(server.url, str(tmp_path))
    client.upload_image(str(study / f"{PLAIN}.nii.gz"), "new one")
    first, _ = client.infer("samed2d", "new one", {"foreground": [[20, 17, 5]]})
    # The volume in memory must not be used for the other image.
    shutil.copy(study / f"{OBLIQUE}.nii.gz", study / "new one.nii.gz")
    second, _ = client.infer("samed2d", "new one", {"foreground": [[20, 17, 5]]})
    assert SimpleITK.ReadImage(first).GetSize() == SHAPES[PLAIN]
    assert SimpleITK.ReadImage(second).GetSize() == SHAPES[OBLIQUE]
