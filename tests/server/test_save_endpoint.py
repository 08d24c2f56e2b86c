"""Labels saved and fetched over HTTP, from a folder and from a PACS in memory."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import monailabel.endpoints.datastore
import nibabel
import numpy as np
import pytest
from cachetools import TTLCache
from fastapi import FastAPI, UploadFile
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.errors import ConflictError, RequestError
from lib.imaging.nrrd import write_nrrd
from lib.imaging.volume import read_volume
from lib.options import AppOptions
from lib.server import datastore_endpoints, save_endpoint
from lib.server.datastore import PacsDatastore
from lib.server.datastore_endpoints import check_datastore
from lib.server.error_answers import answer_errors
from lib.server.label_check import LabelMap
from lib.server.local_datastore import SafeLocalDatastore
from lib.server.save_endpoint import thread_labels
from lib.server.save_request import decode_info
from lib.server.standing import Standing, standing_of
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series
from tests.support.memory_pacs import MemoryPacs

INFO = {"label_info": [{"name": "liver", "idx": 1}]}
AFFINE = np.diag([-0.9, -0.8, 3.0, 1.0])


def drawing() -> np.ndarray:
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[5:20, 10:31, 2:4] = 1
    return labels


class FakeApp:
    """What the endpoints use of the app."""

    def __init__(self, store: SafeLocalDatastore) -> None:
        self.store, self.saved, self.options = store, [], AppOptions()

    def datastore(self) -> SafeLocalDatastore:
        return self.store

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        self.saved.append((image_id, label_id))
        return {"said": "thanks", "image": "not this"}


@pytest.fixture
def local(tmp_path: Path) -> FakeApp:
    folder = tmp_path / "images"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(mr_array(), AFFINE), folder / "my case.nii.gz")
    return FakeApp(SafeLocalDatastore(str(folder), extensions=["*.nii.gz", "*.nrrd"]))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("series")
    return write_mr_series(folder, mr_array()), folder


@pytest.fixture
def pacs(series: tuple[str, Path]) -> MemoryPacs:
    return MemoryPacs(sorted(series[1].iterdir()))


@pytest.fixture
def remote(pacs: MemoryPacs, tmp_path: Path) -> FakeApp:
    return FakeApp(
        PacsDatastore(
            client=pacs,
            search_filter={},
            cache_path=str(tmp_path / "cache"),
            journal=tmp_path / "journal",
        )
    )


@pytest.fixture(params=["local", "remote"])
def app(request: pytest.FixtureRequest, series: tuple[str, Path]) -> FakeApp:
    found: FakeApp = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def client(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    with client_of(app, monkeypatch) as opened:
        yield opened


@contextmanager
def client_of(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    thread_labels()
    check_datastore()
    for module in (save_endpoint, datastore_endpoints):
        monkeypatch.setattr(module, "app_instance", lambda: app)
    server = FastAPI()
    server.include_router(monailabel.endpoints.datastore.router)
    server.add_api_route("/other", lambda: "here")
    answer_errors(server)
    with TestClient(server, raise_server_exceptions=False) as client:
        yield client


def image_of(app: FakeApp) -> str:
    (image,) = app.store.list_images()
    return str(image)


def label_bytes(app: FakeApp, labels: np.ndarray | None = None, name: str = "l.nii.gz") -> bytes:
    affine = read_volume(Path(app.store.get_image_uri(image_of(app)))).affine
    values = drawing() if labels is None else labels
    if name.endswith(".bin"):
        return values.tobytes(order="F")
    path = Path(app.store._datastore_path).parent / name
    if name.endswith(".nrrd"):
        write_nrrd(path, values, affine)
    else:
        LabelMap(values, affine).write(path)
    data = path.read_bytes()
    path.unlink()
    return data


def put(
    client: TestClient,
    content: bytes,
    image: str | None,
    params: object = INFO,
    name: str = "label.nii.gz",
    **query: str,
) -> Any:
    text = params if isinstance(params, str) else json.dumps(params)
    address = query if image is None else {"image": image, **query}
    return client.put(
        "/datastore/label",
        params=address,
        data={"params": text},
        files={"label": (name, io.BytesIO(content))},
    )


def saved_values(app: FakeApp, tag: str = "final") -> np.ndarray:
    return read_volume(Path(app.store.get_label_uri(image_of(app), tag))).array


@pytest.mark.parametrize("name", ["label.nii.gz", "Weird.1 (2).NII.GZ", "x.nrrd", "label.bin"])
def test_saved_and_fetched(client: TestClient, app: FakeApp, name: str) -> None:
    image = image_of(app)
    answer = put(client, label_bytes(app, name=name.lower()), image, name=name)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["image"], said["label"], said["tag"], said["stored"]) == (
        image,
        image,
        "final",
        True,
    )
    assert said["said"] == "thanks"
    assert said["note"].endswith(".")
    np.testing.assert_array_equal(saved_values(app), drawing())
    assert app.store.get_labeled_images() == [image]
    assert app.saved == [(image, image)]
    got = client.get("/datastore/label", params={"label": image, "tag": "final"})
    assert got.status_code == 200
    assert "attachment" in got.headers["content-disposition"]
    path = Path(app.store.get_label_uri(image, "final"))
    assert got.content == path.read_bytes()
    head = client.head("/datastore/label", params={"image": image, "tag": "final"})
    assert (head.status_code, head.content) == (200, b"")


def test_who_is_signed_in_is_noted_not_who_the_client_says(
    client: TestClient, app: FakeApp
) -> None:
    image = image_of(app)
    put(client, label_bytes(app), image, {**INFO, "user": "somebody else", "own": [1]})
    assert app.store.get_label_info(image, "final")["user"] == "admin"  # the host's, signed out


def other_drawing() -> np.ndarray:
    labels = np.zeros(MR_SHAPE, np.uint8)
    labels[8:11, 2:9, 1] = 1
    return labels


def revision(client: TestClient, image: str) -> str:
    query = {"label": image, "tag": "final"}
    return str(client.get("/datastore/label/info", params=query).json().get("revision", ""))


def test_a_label_that_somebody_else_saved_is_not_replaced_unseen(
    client: TestClient, app: FakeApp
) -> None:
    image, hers, his = image_of(app), label_bytes(app), label_bytes(app, other_drawing())
    assert revision(client, image) == ""
    first = put(client, hers, image, {**INFO, "based_on": ""}).json()
    assert first["revision"] == revision(client, image) != ""
    assert "takes the place" not in first["note"]

    for known in ("", "another"):
        refused = put(client, his, image, {**INFO, "based_on": known})
        assert refused.status_code == 409
        assert "of admin at 20" in refused.json()["detail"]
        assert "NOT saved" in refused.json()["detail"]
    np.testing.assert_array_equal(saved_values(app), drawing())
    assert revision(client, image) == first["revision"]

    second = put(client, his, image, {**INFO, "based_on": first["revision"]}).json()
    assert "takes the place of the label of admin at" in second["note"]
    assert second["revision"] not in ("", first["revision"])
    np.testing.assert_array_equal(saved_values(app), other_drawing())
    # Who goes on from what they saved themselves is not in anybody's way.
    again = put(client, hers, image, {**INFO, "based_on": second["revision"]})
    assert again.status_code == 200


def test_a_client_that_says_nothing_replaces_and_the_label_before_is_kept(
    client: TestClient, app: FakeApp, pacs: MemoryPacs
) -> None:
    image = image_of(app)
    put(client, label_bytes(app), image)
    answer = put(client, label_bytes(app, other_drawing()), image)
    assert answer.status_code == 200
    assert "which is kept" in answer.json()["note"]
    if isinstance(app.store, PacsDatastore):
        first, second = app.store.labels.journal.entries()
        assert second.supersedes == first.key
        stored = [found for found in pacs.files if found.Modality == "SEG"]
        assert {found.SeriesInstanceUID for found in stored} == {
            first.series_uid,
            second.series_uid,
        }
    else:
        (kept,) = Path(app.store._datastore_path, "labels", "replaced", image).iterdir()
        np.testing.assert_array_equal(read_volume(kept).array, drawing())
        assert app.store.get_labels_by_image_id(image) == {"final": image}


def test_of_many_who_saw_the_same_label_one_replaces_it(client: TestClient, app: FakeApp) -> None:
    image = image_of(app)
    base = put(client, label_bytes(app), image).json()["revision"]
    content, answers = label_bytes(app, other_drawing()), []

    def save() -> None:
        answers.append(put(client, content, image, {**INFO, "based_on": base}).status_code)

    threads = [threading.Thread(target=save) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, *[409] * 5]


@pytest.fixture
def elsewhere(pacs: MemoryPacs, tmp_path: Path) -> FakeApp:
    """Another server of the same PACS, whose lists of it get old."""
    store = PacsDatastore(
        client=pacs,
        search_filter={},
        cache_path=str(tmp_path / "cache elsewhere"),
        journal=tmp_path / "journal elsewhere",
    )
    store._lists = TTLCache(maxsize=4, ttl=3600)
    return FakeApp(store)


def save_at(app: FakeApp, base: str | None) -> dict[str, Any]:
    label = UploadFile(io.BytesIO(label_bytes(app)), filename="label.nii.gz")
    said = {} if base is None else {"based_on": base}
    return save_endpoint.save_label(app, "Ben", image_of(app), label, json.dumps({**INFO, **said}))


def test_a_label_that_another_server_has_stored_is_not_replaced_unseen(
    remote: FakeApp, elsewhere: FakeApp
) -> None:
    image = image_of(elsewhere)
    assert standing_of(elsewhere.store, image) == Standing()  # and it is remembered for an hour
    first = save_at(remote, "")["revision"]
    with pytest.raises(ConflictError, match="which is newer"):
        save_at(elsewhere, "")
    second = save_at(elsewhere, first)
    assert "is kept" in second["note"]
    with pytest.raises(ConflictError):
        save_at(remote, first)
    assert standing_of(remote.store, image).revision == second["revision"]


def test_of_two_servers_that_save_at_the_same_moment_one_is_told(
    remote: FakeApp, elsewhere: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, save_final = image_of(remote), elsewhere.store.save_final

    def save_both(*args: Any) -> object:
        remote.store.save_final(*args)
        return save_final(*args)

    monkeypatch.setattr(elsewhere.store, "save_final", save_both)
    said = save_at(elsewhere, "")
    assert "At the same moment somebody saved another one" in said["note"]
    assert said["revision"] == standing_of(remote.store, image, fresh=True).revision
    monkeypatch.undo()
    assert "At the same moment" not in save_at(elsewhere, said["revision"])["note"]


def test_other_tags_stay_local_and_are_no_final_labels(client: TestClient, app: FakeApp) -> None:
    image = image_of(app)
    answer = put(client, label_bytes(app), image, tag="original")
    assert answer.status_code == 200, answer.text
    assert app.store.get_labeled_images() == []
    assert app.saved == []
    np.testing.assert_array_equal(saved_values(app, "original"), drawing())
    assert (
        client.get("/datastore/label", params={"label": image, "tag": "final"}).status_code == 404
    )
    got = client.get("/datastore/label", params={"label": image, "tag": "original"})
    assert got.status_code == 200


def test_an_empty_label(client: TestClient, app: FakeApp) -> None:
    answer = put(client, label_bytes(app, drawing() * 0), image_of(app))
    assert answer.status_code == 200, answer.text
    assert app.store.get_labeled_images() == [image_of(app)]


@pytest.mark.parametrize(
    "tag", ["../final", "a/b", "..", ".", "x" * 65, "a b", "é", "final\0", "-"]
)
def test_hostile_tags(client: TestClient, app: FakeApp, tag: str) -> None:
    answer = put(client, label_bytes(app), image_of(app), tag=tag)
    assert answer.status_code == 400
    assert "tag" in answer.json()["detail"]
    for method, key in (("GET", "label"), ("HEAD", "image")):
        got = client.request(method, "/datastore/label", params={key: image_of(app), "tag": tag})
        assert got.status_code == 400


@pytest.mark.parametrize(
    ("image", "status"),
    [
        ("../../etc/passwd", 400),
        ("/etc/passwd", 400),
        ("..", 400),
        ("", 400),
        ("a\0b", 400),
        ("x" * 2000, 400),
        ("unknown", 404),
        ("1.2.3", 404),
        ("9" * 70, 404),
        (None, 422),
    ],
)
def test_hostile_and_unknown_images(
    client: TestClient, app: FakeApp, image: str | None, status: int
) -> None:
    answer = put(client, label_bytes(app), image)
    assert answer.status_code == status
    assert answer.json()["detail"]
    if image is not None:
        got = client.get("/datastore/label", params={"label": image, "tag": "final"})
        assert got.status_code in (400, 404)


@pytest.mark.parametrize(
    "params",
    [
        "{",
        "[]",
        "null",
        '"x"',
        "[" * 100_000,
        '{"label_info": 3}',
        '{"label_info": ["liver"]}',
        '{"label_info": [{"name": 3}]}',
        '{"label_info": [{"name": "a", "idx": "1"}]}',
        '{"label_info": [{"name": "a", "idx": -1}]}',
        '{"reviewed": "all"}',
        '{"reviewed": [1.5]}',
        '{"reviewed": [true]}',
        '{"prompts": "many"}',
        '{"model": 3}',
        '{"model_version": {}}',
        json.dumps({"model": "x" * 1000}),
        json.dumps({"own": "x" * 600_000}),
    ],
)
def test_wrong_params(client: TestClient, app: FakeApp, params: str) -> None:
    answer = put(client, label_bytes(app), image_of(app), params)
    assert answer.status_code == 400, answer.text
    assert "NOT saved" in answer.json()["detail"]
    assert app.store.get_labeled_images() == []


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "label.nii.gz"),
        (b"no label", "label.nii.gz"),
        (b"\x1f\x8b" + b"x" * 400, "label.nii.gz"),
        (b"NRRD0004\n", "label.nrrd"),
        (b"123", "label.bin"),
        (b"", "label.bin"),
        (b"x", "label.exe"),
        (b"x", "label"),
        (b"x", "../../label.sh"),
    ],
)
def test_no_label_files(client: TestClient, app: FakeApp, content: bytes, name: str) -> None:
    answer = put(client, content, image_of(app), name=name)
    assert answer.status_code == 415, answer.text
    assert "What to do" in answer.json()["detail"]
    assert app.store.get_labeled_images() == []


@pytest.mark.parametrize(
    "array",
    [
        drawing()[:-1],
        drawing()[:, :, :1],
        -drawing().astype(np.int16),
        drawing() * 0.5,
        np.where(drawing(), np.nan, 0.0),
        np.arange(drawing().size, dtype=np.int32).reshape(MR_SHAPE),
    ],
)
def test_files_that_are_no_label_of_this_image(
    client: TestClient, app: FakeApp, array: np.ndarray
) -> None:
    answer = put(client, label_bytes(app, array), image_of(app))
    assert answer.status_code == 415, answer.text
    assert app.store.get_labeled_images() == []


def test_no_file_at_all(client: TestClient, app: FakeApp) -> None:
    answer = client.put("/datastore/label", params={"image": image_of(app)}, data={"params": "{}"})
    assert answer.status_code == 422


def test_a_label_that_waits_for_the_pacs(
    remote: FakeApp, pacs: MemoryPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(remote, monkeypatch) as client:
        content, image = label_bytes(remote), image_of(remote)
        pacs.refuses = 403
        said = put(client, content, image, {**INFO, "prompts": [1, 2], "reviewed": [0]}).json()
        assert said["stored"] is False
        assert "kept here" in said["note"]
        assert "403" in said["note"]
        assert remote.saved == [(image, image)]
        got = client.get("/datastore/label", params={"label": image, "tag": "final"})
        assert got.status_code == 200
        (entry,) = remote.store.labels.journal.entries()
        assert (entry.prompts, entry.reviewed, entry.user) == (2, (0,), "admin")


def test_others_are_answered_while_a_label_goes_to_the_pacs(
    remote: FakeApp, pacs: MemoryPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    store = pacs.store_instances

    def slow(datasets: Any) -> object:
        begun.set()
        assert go_on.wait(20)
        return store(datasets)

    monkeypatch.setattr(pacs, "store_instances", slow)
    answers: list[Any] = []
    with client_of(remote, monkeypatch) as client:
        content, image = label_bytes(remote), image_of(remote)
        thread = threading.Thread(target=lambda: answers.append(put(client, content, image)))
        thread.start()
        assert begun.wait(20)
        assert client.get("/other").json() == "here"
        go_on.set()
        thread.join(20)
    assert answers[0].status_code == 200


def test_the_routes_take_what_the_hosts_took() -> None:
    thread_labels()
    thread_labels()
    routes = [r for r in monailabel.endpoints.datastore.router.routes if r.path.endswith("/label")]
    assert sorted((r.path, *r.methods) for r in routes) == [
        ("/datastore/label", "DELETE"),
        ("/datastore/label", "GET"),
        ("/datastore/label", "HEAD"),
        ("/datastore/label", "PUT"),
    ]
    ours = {r.endpoint for r in routes if r.endpoint.__module__ == save_endpoint.__name__}
    assert len(ours) == 3


def test_a_host_without_these_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SimpleNamespace(router=SimpleNamespace(routes=[]))
    monkeypatch.setattr(save_endpoint, "_host", empty)
    with pytest.raises(LookupError, match="api_save_label"):
        thread_labels()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "idx", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from(["label_info", "reviewed", "prompts", "model", "model_version", "other"])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys, values, max_size=4) | values)
def test_any_json_is_taken_or_refused_with_a_sentence(params: object) -> None:
    try:
        info = decode_info(json.dumps(params))
    except RequestError as error:
        assert "NOT saved" in error.message
    else:
        assert isinstance(info, dict)
