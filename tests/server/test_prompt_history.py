"""An answer depends on image, network and prompt list alone, whatever was asked before.

Over HTTP, with the shipped weights and zoom on its default, on the sample study.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.clicks import post_infer
from tests.support.organs import CT_NAME, SAMPLE_DATA, organ_click, organ_mask
from tests.support.server import RunningServer, start_server

ORGANS = ("liver", "spleen", "left kidney", "stomach")
CONF = {"architecture": "samed2d_t"}
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def used() -> Iterator[RunningServer]:
    """A server that is asked many things, with all its caches."""
    with start_server(SAMPLE_DATA / "studies", conf=CONF) as server:
        yield server


@pytest.fixture(scope="module")
def fresh() -> Iterator[RunningServer]:
    """A server that sees each list of points for the first time."""
    conf = {**CONF, "encode_ahead": "off", "embedding_disk_mb": "0"}
    with start_server(SAMPLE_DATA / "studies", conf=conf) as server:
        yield server


def history(organ: str) -> list[dict[str, object]]:
    """What a viewer sends click by click: two more foreground points, then a background one."""
    i, j, k = organ_click(organ_mask(organ))
    foreground = [[i, j, k], [i + 3, j + 2, k], [i - 2, j + 3, k]]
    background = [[i + 25, j + 20, k]]
    steps: list[dict[str, object]] = [
        {"foreground": foreground[:n], "background": [], "label": organ} for n in (1, 2, 3)
    ]
    return [*steps, {"foreground": foreground, "background": background, "label": organ}]


def ask(server: RunningServer, params: dict[str, object]) -> bytes:
    answer = post_infer(server, params, CT_NAME, output="image")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("organ", ORGANS)
def test_a_whole_list_equals_click_by_click(
    used: RunningServer, fresh: RunningServer, organ: str
) -> None:
    answers = [ask(used, step) for step in history(organ)]
    assert ask(fresh, history(organ)[-1]) == answers[-1]
    assert len(set(answers)) > 1  # the points do something


@pytest.mark.parametrize("organ", ORGANS)
def test_undo_and_redo_return_the_same_bytes(used: RunningServer, organ: str) -> None:
    steps = history(organ)
    answers = [ask(used, step) for step in steps]
    for number in (2, 1, 0, 3, 0, 2, 3, 1):
        assert ask(used, steps[number]) == answers[number]


def test_interleaved_users_of_one_series_do_not_disturb_each_other(
    used: RunningServer, fresh: RunningServer
) -> None:
    alone = {organ: [ask(fresh, step) for step in history(organ)] for organ in ORGANS}

    def user(organ: str) -> list[bytes]:
        steps = history(organ)
        return [ask(used, steps[number]) for number in (0, 1, 2, 3, 1, 3, 0)]

    with ThreadPoolExecutor(len(ORGANS)) as pool:
        together = list(pool.map(user, ORGANS))
    for organ, answers in zip(ORGANS, together, strict=True):
        assert answers == [alone[organ][number] for number in (0, 1, 2, 3, 1, 3, 0)]
