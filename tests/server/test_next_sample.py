"""Which case comes next, from the scores to the answer over HTTP."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import monailabel.endpoints.activelearning
import pytest
import requests
from fastapi import FastAPI
from fastapi.testclient import TestClient
from monailabel.datastore.local import LocalDatastore

from lib.errors import NotFoundError, UnavailableError
from lib.learning.strategies import STRATEGIES
from lib.options import AppOptions
from lib.server import next_sample_endpoint as endpoint
from lib.server.caller import CALLER, Caller
from lib.server.datastore import PacsDatastore
from lib.server.error_answers import answer_errors
from lib.server.models import NetworkChoice
from lib.server.next_sample import NextSamples
from lib.server.next_sample_endpoint import answer_next_sample, thread_next_sample
from lib.server.roles import Role
from tests.learning.rows import row
from tests.support.dicom_files import mr_array, write_mr_series
from tests.support.memory_pacs import MemoryPacs
from tests.support.scored import SmallNetwork, open_folder, save_label, write_images
from tests.support.server import RunningServer, start_server

KEYS = {"id", "slice", "score", "strategy", "reason", "model_version"}


class Setup:
    """Four cases; the scores are those a test puts in."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.network = SmallNetwork()
        self.folder = write_images(folder / "images", 4)
        self.datastore = open_folder(self.folder)
        self.options = replace(AppOptions(), cache_dir=folder / "cache", **options)
        self.samples = self.make()

    def make(self) -> NextSamples:
        store = (self.network, self.network, lambda: self.datastore, str(self.folder))
        return NextSamples(self.options, *store)

    def score(self) -> None:
        """case0 is the most uncertain, case3 the least; case3 is farthest from all others."""
        for number in range(4):
            rows = [row(f"case{number}", k, 0.8 - 0.2 * number, number**2 / 5) for k in (1, 5)]
            self.samples.store.put(f"case{number}", rows)

    def ask(self, strategy: str = "random", client: str | None = None) -> dict[str, Any]:
        request = {"strategy": strategy, "client_id": client}
        return self.samples.strategies()[strategy](request, self.datastore) or {}


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path)
    yield made
    made.network.worker.close()


def test_the_answer_names_image_slice_score_and_reason(setup: Setup) -> None:
    setup.score()
    answer = setup.ask("uncertainty")
    assert set(answer) == KEYS
    assert answer["id"] == "case0"
    assert answer["slice"] in (1, 5)
    assert answer["score"] == pytest.approx(0.8)
    assert answer["strategy"] == "uncertainty"
    assert answer["model_version"] == "net-1"
    assert "0.80" in answer["reason"]
    json.dumps(answer, allow_nan=False)


def test_random_means_the_option(setup: Setup) -> None:
    setup.score()
    assert setup.ask("random")["strategy"] == "hybrid"
    setup.options = replace(setup.options, strategy="sequential")
    setup.samples = setup.make()
    answer = setup.ask("random")
    assert (answer["strategy"], answer["id"]) == ("sequential", "case0")
    text = setup.samples.strategies()["random"].info()["description"]
    assert "sequential" in text


def test_what_others_have_is_not_offered_and_is_covered(setup: Setup) -> None:
    setup.score()
    first = setup.ask("diversity", "ann")
    second = setup.ask("diversity", "bob")
    assert first["id"] != second["id"]
    # The farthest from the case that ann has just been given.
    assert (first["id"], second["id"]) == ("case2", "case3")
    assert "nothing is labelled yet" in first["reason"]
    assert "handed out" in second["reason"]


def test_labelled_cases_cover_and_are_not_offered(setup: Setup) -> None:
    setup.score()
    save_label(setup.datastore, "case3", (3,))
    setup.samples.saved("case3")
    assert [setup.ask("diversity", f"client{n}")["id"] for n in range(3)] == [
        "case0",
        "case2",
        "case1",
    ]


def test_a_skipped_case_comes_back_last(setup: Setup) -> None:
    setup.score()
    assert [setup.ask("uncertainty", "ann")["id"] for _ in range(5)] == [
        "case0", "case1", "case2", "case3", "case0"
    ]  # fmt: skip


def test_without_scores_it_draws_at_once_and_says_so(setup: Setup) -> None:
    answer = setup.ask("hybrid")
    assert answer["slice"] is None
    assert answer["score"] is None
    assert answer["reason"].startswith("drawn at random: not scored yet (0 of 4 images have scores")
    assert answer["model_version"] == "net-1"


def test_it_says_why_there_are_no_scores(setup: Setup) -> None:
    setup.options = replace(setup.options, score_budget=0)
    setup.samples = setup.make()
    assert "score_budget is 0" in setup.ask("uncertainty")["reason"]
    assert setup.samples.status() == {"doing": "images are not scored (option score_budget is 0)"}
    setup.network.choice = NetworkChoice("small", None)
    setup.options = AppOptions(cache_dir=setup.options.cache_dir)
    setup.samples = setup.make()
    assert "no trained weights" in setup.ask("hybrid")["reason"]


def test_sequential_and_random_need_no_scores(setup: Setup) -> None:
    assert setup.ask("sequential")["reason"] == "the next in the order of names"
    setup.options = replace(setup.options, strategy="random")
    setup.samples = setup.make()
    assert setup.ask("random")["reason"] == "drawn at random"


def test_when_all_are_labelled_there_is_nothing(setup: Setup) -> None:
    for number in range(4):
        save_label(setup.datastore, f"case{number}", (3,))
    assert setup.ask() == {}


def test_a_pre_annotated_case_is_offered(setup: Setup) -> None:
    for number in range(3):
        save_label(setup.datastore, f"case{number}", (3,))
    save_label(setup.datastore, "case3", (3,), tag="original")
    assert setup.ask()["id"] == "case3"


def test_when_others_have_all_that_are_left_it_says_when_to_ask_again(setup: Setup) -> None:
    for number in range(4):
        setup.ask("sequential", f"client{number}")
    answer = setup.ask("sequential", "late")
    assert "id" not in answer
    assert "4 cases" in answer["reason"]
    assert "30 minutes" in answer["reason"]


def test_scores_of_a_former_encoder_are_not_mixed_in(setup: Setup) -> None:
    setup.score()
    setup.samples.store.put("case2", [row("case2", 1, 0.9, 1.0, "net-2", "enc-2")])
    for strategy in STRATEGIES:
        assert setup.ask(strategy)["id"] in {f"case{n}" for n in range(4)}


def test_the_scores_of_two_datastores_are_kept_apart(setup: Setup, tmp_path: Path) -> None:
    there = setup.samples.store._folder
    other = NextSamples(
        setup.options,
        setup.network,
        setup.network,
        lambda: setup.datastore,
        "http://pacs/dicom-web",
    )
    assert there is not None
    assert other.store._folder is not None
    assert there.parent == other.store._folder.parent == tmp_path / "cache" / "scores"
    assert there != other.store._folder


def test_info_tells_what_each_does_and_how_far_the_scores_are(setup: Setup) -> None:
    listed = {name: s.info() for name, s in setup.samples.strategies().items()}
    assert set(listed) == {"random", *STRATEGIES}
    assert listed["random"]["description"].startswith("what this server is set to: hybrid")
    for info in listed.values():
        assert "config" not in info
        assert info["scoring"]["doing"] == "waiting for the network"
        assert info["scoring"]["failed"] == {}
    json.dumps(listed, allow_nan=False)


# Over HTTP, with the host's own router.


@pytest.fixture
def client(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    app = SimpleNamespace(_strategies=setup.samples.strategies(), datastore=lambda: setup.datastore)
    monkeypatch.setattr(endpoint, "app_instance", lambda: app)
    thread_next_sample()
    application = FastAPI()
    application.include_router(monailabel.endpoints.activelearning.router)
    answer_errors(application)
    with TestClient(application, raise_server_exceptions=False) as made:
        yield made


def test_the_answer_has_what_slicer_uses(client: TestClient, setup: Setup) -> None:
    answer = client.post("/activelearning/sequential", json={}).json()
    assert set(answer) >= KEYS
    assert answer["id"] == "case0"
    assert answer["name"] == "case0.nii.gz"
    assert Path(answer["path"]) == (setup.folder / "case0.nii.gz").resolve()


@pytest.mark.parametrize("body", [None, {}, {"client_id": None}])
def test_a_client_may_send_nothing(client: TestClient, body: dict[str, None] | None) -> None:
    sent = {} if body is None else {"json": body}
    assert client.post("/activelearning/random", **sent).json()["id"].startswith("case")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("best", {}, 404, ("'best'", "hybrid, uncertainty")),
        ("random", {"strategy": "x"}, 400, ("'strategy'", "client_id")),
        ("random", {"label_tag": "final", "a": 1}, 400, ("'a', 'label_tag'",)),
        ("random", {"client_id": 7}, 400, ("client_id '7'", "128")),
        ("random", {"client_id": "x" * 129}, 400, ("128 characters",)),
        ("random", [1], 422, ()),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    client: TestClient, path: str, body: object, status: int, words: tuple[str, ...]
) -> None:
    answer = client.post(f"/activelearning/{path}", json=body)
    assert answer.status_code == status
    for word in words:
        assert word in answer.json()["detail"]
    # A request that was refused has leased nothing.
    assert client.post("/activelearning/sequential", json={}).json()["id"] == "case0"


def test_two_clients_get_different_cases(client: TestClient) -> None:
    def ask(name: str) -> str:
        body = {"client_id": name}
        return str(client.post("/activelearning/sequential", json=body).json()["id"])

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(ask, ("ann", "bob", "eve", "joe")))
    assert sorted(got) == [f"case{n}" for n in range(4)]


@pytest.mark.parametrize("name", ["user-xyz", "", " "])
def test_slicers_default_name_is_nobodys(client: TestClient, name: str) -> None:
    def ask() -> str:
        body = {"client_id": name}
        return str(client.post("/activelearning/sequential", json=body).json()["id"])

    # Two people whose Slicer sends it: neither has skipped the other's case.
    assert [ask(), ask()] == ["case0", "case1"]
    body = {"client_id": "ann"}
    assert client.post("/activelearning/sequential", json=body).json()["id"] == "case2"


def test_who_is_signed_in_has_a_name() -> None:
    user = SimpleNamespace(username="ann")
    assert endpoint.client_name({}, user) is None  # type: ignore[arg-type]
    token = CALLER.set(Caller("ann", Role.ANNOTATOR))
    try:
        assert endpoint.client_name({}, user) == "ann"  # type: ignore[arg-type]
        assert endpoint.client_name({"client_id": "bob"}, user) == "bob"  # type: ignore[arg-type]
    finally:
        CALLER.reset(token)


def test_the_route_takes_what_the_hosts_took() -> None:
    thread_next_sample()
    thread_next_sample()
    host = inspect.signature(monailabel.endpoints.activelearning.api_sample)
    assert inspect.signature(answer_next_sample) == host
    assert "user" in host.parameters  # its default is the check of the sign-in
    assert not inspect.iscoroutinefunction(answer_next_sample)
    routes = monailabel.endpoints.activelearning.router.routes
    assert [(r.path, r.methods) for r in routes] == [("/activelearning/{strategy}", {"POST"})]


def test_a_host_without_the_route_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monailabel.endpoints.activelearning.router, "routes", [])
    with pytest.raises(LookupError, match="api_sample"):
        thread_next_sample()


# Of a PACS.


def test_a_series_of_a_pacs_is_named_and_not_downloaded(tmp_path: Path) -> None:
    (tmp_path / "mr").mkdir()
    uid = write_mr_series(tmp_path / "mr", mr_array())
    pacs = MemoryPacs(sorted((tmp_path / "mr").iterdir()))
    cache = str(tmp_path / "cache")
    datastore = PacsDatastore(
        client=pacs, search_filter={}, cache_path=cache, journal=tmp_path / "journal"
    )
    network = SmallNetwork()
    samples = NextSamples(
        AppOptions(cache_dir=tmp_path), network, network, lambda: datastore, "http://pacs"
    )
    found = samples.strategies()["random"]({}, datastore)
    assert found is not None
    facts = endpoint.image_facts(datastore, found["id"])
    assert found["id"] == facts["SeriesInstanceUID"] == uid
    assert facts["StudyInstanceUID"] == str(pacs.files[0].StudyInstanceUID)
    assert "path" not in facts
    assert not any("retrieve" in question for question in pacs.questions)
    datastore.get_image_uri(uid)
    pacs.questions.clear()
    known = endpoint.image_facts(datastore, uid)
    assert known["StudyInstanceUID"] == facts["StudyInstanceUID"]
    assert "path" not in known
    assert pacs.questions == []
    with pytest.raises(NotFoundError):
        datastore.series_facts("1.2.3.4.5")
    pacs.down = True
    with pytest.raises(UnavailableError):
        datastore.series_facts("1.2.3.4.6")
    network.worker.close()


# Over the real server.


def next_sample(server: RunningServer, strategy: str, client: str | None = None) -> dict[str, Any]:
    body = {} if client is None else {"client_id": client}
    answer = requests.post(f"{server.url}/activelearning/{strategy}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def scoring(server: RunningServer) -> dict[str, Any]:
    return dict(server.info()["strategies"]["hybrid"]["scoring"])


def save(server: RunningServer, image: str, folder: Path) -> None:
    """As Slicer does."""
    datastore: LocalDatastore = open_folder(write_images(folder, 1))
    save_label(datastore, "case0", (3,))
    label = datastore.get_label_uri("case0", "final")
    with Path(label).open("rb") as file:
        answer = requests.put(
            f"{server.url}/datastore/label?image={image}",
            data={"params": json.dumps({"label_info": [{"name": "liver", "idx": 1}]})},
            files={"label": ("label.nii.gz", file)},
            timeout=60,
        )
    assert answer.status_code == 200, answer.text


@pytest.mark.server
def test_next_sample_over_a_real_server(random_weights: Path, tmp_path: Path) -> None:
    study = write_images(tmp_path / "study", 4)
    conf = {
        "architecture": "samed2d_t",
        "checkpoint": str(random_weights),
        "labels": "liver",
        "score_budget": "1000",
        "scored_slices": "1",
    }
    with start_server(study, conf=conf) as server:
        assert set(server.info()["strategies"]) == {"random", *STRATEGIES}
        assert next_sample(server, "sequential", "ann")["id"] == "case0"
        assert next_sample(server, "sequential", "bob")["id"] == "case1"
        assert next_sample(server, "sequential", "ann")["id"] == "case2"  # case0 is skipped
        wrong = requests.post(f"{server.url}/activelearning/best", json={}, timeout=60)
        assert wrong.status_code == 404
        assert "hybrid" in wrong.json()["detail"]
        deadline = time.monotonic() + 120
        while scoring(server).get("images_scored") != 4:
            assert time.monotonic() < deadline, scoring(server)
            time.sleep(0.3)
        answer = next_sample(server, "random", "eve")
        assert answer["strategy"] == "hybrid"
        assert answer["slice"] == 3
        assert answer["model_version"] == server.info()["models"]["samed2d"]["model_version"]
        assert answer["id"] in ("case0", "case3")
        assert Path(answer["path"]).is_file()
        for image in ("case0", "case1", "case2"):
            save(server, image, tmp_path / "labels")
        for strategy in ("random", *STRATEGIES):
            assert next_sample(server, strategy, "eve")["id"] == "case3"
        save(server, "case3", tmp_path / "labels")
        assert next_sample(server, "random", "eve") == {}
        assert len(list(server.home.rglob("scores/*/*.npz"))) <= 1
