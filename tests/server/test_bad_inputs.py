"""Hundreds of inputs that make no sense: every answer is a sentence, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.server.roles import ROLES
from tests.support.bad_inputs import HOSTILE_NAMES, bad_files, bad_params
from tests.support.server import RunningServer
from tests.support.studies import PLAIN

pytestmark = pytest.mark.server

MEMORY = 1 << 30
"""What the server may need more afterwards: 64 MiB of zeros that were packed, decoders, caches."""
STARTS_WORK = ("/reload", "/train/", "/train/{model}", "/batch/infer/{model}")
"""Addresses at which an input that happens to be right starts a process; they are tried by name."""
CLICK = json.dumps({"foreground": [[1, 1, 1]]})


@pytest.fixture(scope="module")
def asking(host: RunningServer) -> Iterator[requests.Session]:
    """One connection for all, which is several times faster."""
    with requests.Session() as session:
        yield session


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(host: RunningServer, study: Path) -> Iterator[None]:
    """No file outside of the server's folders, no memory that stays, no stack in the log."""
    process = psutil.Process(host.process.pid)
    before, memory = outside(host, study), process.memory_info().rss
    yield
    assert outside(host, study) == before
    assert process.memory_info().rss - memory < MEMORY
    assert not list((host.home / "tmp").glob("samed2d-*"))
    assert "Traceback" not in host.log()
    assert process.is_running()


def outside(host: RunningServer, study: Path) -> set[Path]:
    """Files beside the folders in which the server writes."""
    around = [path for path in study.parent.rglob("*") if not path.is_relative_to(study)]
    return {*around, *(host.home / "cwd").rglob("*"), *Path("/tmp").glob("passwd*")}


def check(answer: requests.Response) -> None:
    """Below 500, and where it is no success a sentence."""
    assert answer.status_code < 500, (answer.request.method, answer.request.url, answer.text)
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        detail = answer.json()["detail"]
        assert isinstance(detail, str)
        assert detail.strip()
        assert "Traceback" not in detail
        assert 'File "' not in detail


def test_there_are_enough_of_them() -> None:
    assert len(bad_files()) + len(set(bad_params())) + len(HOSTILE_NAMES) >= 300


def test_files(host: RunningServer, asking: requests.Session) -> None:
    for name, data in bad_files():
        if name.endswith(".dcm"):
            continue
        # An image that is odd and can be read is answered with a mask, or with why not.
        form: dict[str, Any] = {"params": (None, CLICK), "file": (name, data)}
        check(asking.post(f"{host.url}/infer/samed2d", files=form, timeout=60))


def test_files_as_labels(host: RunningServer, asking: requests.Session) -> None:
    for name, data in bad_files()[::3]:
        answer = asking.put(
            f"{host.url}/datastore/label",
            params={"image": PLAIN, "tag": "tried"},
            files={"label": (name, data)},
            timeout=60,
        )
        assert answer.status_code in (400, 415), (name, answer.text)
        check(answer)


def test_files_as_images(host: RunningServer, asking: requests.Session, study: Path) -> None:
    for name, data in bad_files()[1::3]:
        form = {"file": (name, data)}
        address = f"{host.url}/datastore/image"
        answer = asking.put(address, params={"image": "tried"}, files=form, timeout=60)
        check(answer)
        if answer.status_code == 200:
            check(asking.delete(address, params={"id": "tried"}, timeout=60))
    assert not list(study.glob("tried*"))


def test_files_as_sessions(host: RunningServer, asking: requests.Session) -> None:
    dicoms = [(name, data) for name, data in bad_files() if name.endswith(".dcm")]
    for name, data in (*dicoms, *bad_files()[2::12]):
        made = asking.put(f"{host.url}/session/", files={"files": (name, data)}, timeout=60)
        check(made)
        if made.status_code != 200:
            continue  # it cannot be read
        session = made.json()["session_id"]
        query = {"session_id": session}
        form = {"params": (None, CLICK)}
        check(asking.post(f"{host.url}/infer/samed2d", params=query, files=form, timeout=60))
        check(asking.delete(f"{host.url}/session/{session}", timeout=60))


def test_parameters(host: RunningServer, asking: requests.Session) -> None:
    address = f"{host.url}/infer/samed2d"
    for text in bad_params():
        form = {"params": (None, text.encode("utf-8", "surrogatepass"))}
        check(asking.post(address, params={"image": PLAIN}, files=form, timeout=60))


def test_names(host: RunningServer, asking: requests.Session) -> None:
    data = b"x"
    for name in HOSTILE_NAMES:
        asked: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("GET", "/datastore/image", {"params": {"image": name}}),
            ("PUT", "/datastore/image", {"params": {"image": name}, "files": {"file": data}}),
            ("PUT", "/datastore/image", {"files": {"file": (name or "x", data)}}),
            ("DELETE", "/datastore/label", {"params": {"id": name, "tag": name}}),
            ("GET", "/datastore/label", {"params": {"label": PLAIN, "tag": name}}),
            ("PUT", "/session/", {"files": {"files": (name or "x", data)}}),
            ("POST", "/infer/samed2d", {"params": {"image": name, "session_id": name}}),
            ("POST", f"/infer/{quote(name, safe='')}", {"params": {"image": PLAIN}}),
            ("GET", f"/volume_job/{quote(name, safe='')}", {}),
            ("GET", f"/session/{quote(name, safe='')}", {}),
            ("GET", f"/proxy/dicom/wado/{quote(name, safe='/')}", {}),
            ("GET", f"/model_card/{quote(name, safe='')}", {}),
            ("POST", f"/train/{quote(name, safe='') or 'x'}", {"json": {"name": name}}),
            ("POST", f"/model_version/{quote(name, safe='')}", {"json": {"version": name}}),
            ("POST", "/activelearning/random", {"json": {"client_id": name}}),
            ("GET", f"/ohif/{quote(name, safe='/')}", {}),
            ("GET", f"/samed2d/{quote(name, safe='/')}", {}),
            ("GET", f"/static/{quote(name, safe='/')}", {}),
        )
        for method, path, options in asked:
            check(asking.request(method, host.url + path, timeout=60, **options))


def routes() -> list[tuple[str, str]]:
    return sorted(key for key in ROLES if key[1] not in STARTS_WORK or key[0] != "POST")


TEXT = st.one_of(st.sampled_from(HOSTILE_NAMES), st.text(max_size=20), st.just(PLAIN))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    *(
        "image",
        "label",
        "tag",
        "id",
        "params",
        "info",
        "output",
        "session_id",
        "check_sum",
        "lines",
    ),
    *("expiry", "uncompress", "limit_cases", "run_sync", "update_ts", "html", "all", "images"),
)
BODIES = st.one_of(
    st.none(),
    JSON.map(lambda value: ("json", json.dumps(value).encode("utf-8", "surrogatepass"))),
    st.binary(max_size=50).map(lambda data: ("json", data)),
    st.dictionaries(st.sampled_from(KEYS), TEXT, max_size=3).map(lambda form: ("form", form)),
    st.tuples(st.sampled_from(("file", "files", "label", "x")), TEXT, st.binary(max_size=30)).map(
        lambda part: ("file", part)
    ),
)


@settings(max_examples=400, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    route=st.sampled_from(routes()),
    names=st.lists(TEXT, min_size=1, max_size=1),
    query=st.dictionaries(st.sampled_from(KEYS), TEXT, max_size=3),
    body=BODIES,
)
def test_any_request(
    host: RunningServer,
    asking: requests.Session,
    route: tuple[str, str],
    names: list[str],
    query: dict[str, str],
    body: tuple[str, Any] | None,
) -> None:
    method, template = route
    path = template
    if "{" in template:
        start, end = template.index("{"), template.index("}")
        name = quote(names[0].encode("utf-8", "surrogatepass"), safe="")
        path = template[:start] + name + template[end + 1 :]
    options: dict[str, Any] = {}
    kind, content = body or ("", None)
    if kind == "json":
        options = {"data": content, "headers": {"Content-Type": "application/json"}}
    elif kind == "form":
        options = {"data": content}
    elif kind == "file":
        options = {"files": {content[0]: (content[1] or "x", content[2])}}
    asked = {key: text.encode("utf-8", "surrogatepass") for key, text in query.items()}
    check(asking.request(method, host.url + path, params=asked, timeout=60, **options))
