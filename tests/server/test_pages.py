"""Which addresses a browser may be led back to after the form."""

from __future__ import annotations

from typing import Any

import pytest

from lib.server.pages import asks_for_page, to_login, way_back


def scope(path: str, query: str = "", root: str = "", accept: str = "text/html") -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "root_path": root,
        "headers": [(b"accept", accept.encode())],
    }


@pytest.mark.parametrize(
    "address", ["/samed2d/", "/samed2d/annotate?StudyInstanceUIDs=1.2", "/a%20b"]
)
def test_paths_of_this_server(address: str) -> None:
    assert way_back(address) == address


@pytest.mark.parametrize(
    "address",
    [
        *("", "x", "//elsewhere", "/\\elsewhere", "/%2F/elsewhere/%0a", "/%2felsewhere", "/ x"),
        *("https://elsewhere", "javascript:alert(1)", "/a\nb", "/\t/elsewhere", "/" + "x" * 5000),
    ],
)
def test_anything_else(address: str) -> None:
    assert way_back(address) is None


@pytest.mark.parametrize("root", ["", "/label"])
def test_the_way_there_and_back(root: str) -> None:
    answer = to_login(scope(f"{root}/samed2d/annotate", "StudyInstanceUIDs=1.2&x=%41", root))
    location = answer.headers["location"]
    assert location.startswith(f"{root}/login/?back=%2F")
    assert location.endswith("samed2d%2Fannotate%3FStudyInstanceUIDs%3D1.2%26x%3D%2541")
    assert answer.status_code == 303


def test_programs_get_a_sentence_instead() -> None:
    assert asks_for_page(scope("/samed2d/", accept="text/html,*/*;q=0.8"))
    assert not asks_for_page(scope("/samed2d/", accept="*/*"))
    assert not asks_for_page(scope("/samed2d/") | {"method": "POST"})
