"""Which paths of a PACS the server passes on."""

import pytest

from lib.errors import RequestError
from lib.server.dicom_paths import check_dicomweb


@pytest.mark.parametrize(
    ("method", "op", "path"),
    [
        ("GET", "qido", "studies"),
        ("GET", "qido", "studies/1.2.3/series"),
        ("GET", "qido", "series/"),
        ("GET", "wado", "studies/1.2.3/series/4.5/metadata"),
        ("GET", "wado", "studies/1.2.3/series/4.5/instances/6.7"),
        ("GET", "wado", "studies/1.2.3/series/4.5/instances/6.7/frames/1,2"),
        ("GET", "wado", "studies/1.2.3/series/4.5/instances/6.7/frames/1/rendered"),
        ("GET", "wado", "studies/1.2.3/series/4.5/instances/6.7/rendered"),
        ("GET", "wado", "studies/1.2.3/series/4.5/instances/6.7/bulk/00420011"),
        ("GET", "", "studies/1.2.3/metadata"),
        ("POST", "stow", "studies"),
        ("POST", "", "studies/1.2.3"),
    ],
)
def test_questions_of_viewers(method: str, op: str, path: str) -> None:
    assert check_dicomweb(method, op, path, "limit=3") == path.strip("/")


@pytest.mark.parametrize(
    ("method", "op", "path"),
    [
        ("GET", "", ""),
        ("GET", "", "patients"),
        ("GET", "", "../system"),
        ("GET", "wado", "studies/../../system"),
        ("GET", "wado", "studies/1.2.3/../../system"),
        ("GET", "wado", "studies/1.2.3//series"),
        ("GET", "wado", "studies/1..2"),
        ("GET", "wado", "studies/1.2.3\n"),
        ("GET", "wado", "studies/1.2.3?x=1"),
        ("GET", "wado", "studies/1.2.3#x"),
        ("GET", "wado", "studies/1.2.3@elsewhere.example"),
        ("GET", "wado", "//elsewhere.example/studies"),
        ("GET", "wado", "http://elsewhere.example/studies"),
        ("GET", "wado", "studies/1.2.3/series/4.5/instances/6.7/bulk/../../x"),
        ("GET", "wado", "studies/\u0661"),
        ("GET", "wado", "studies/" + "1." * 1000 + "1"),
        ("GET", "stow", "studies/1.2.3/metadata"),
        ("POST", "qido", "studies"),
        ("POST", "wado", "studies"),
        ("POST", "stow", "studies/1.2.3/series"),
        ("POST", "", "tools/shutdown"),
    ],
)
def test_anything_else(method: str, op: str, path: str) -> None:
    with pytest.raises(RequestError, match="ask the PACS itself"):
        check_dicomweb(method, op, path, "")


def test_a_query_that_is_too_long() -> None:
    with pytest.raises(RequestError, match="query"):
        check_dicomweb("GET", "qido", "studies", "x" * 10_000)
