"""Parts of soak.py and check_saves.py: that they find what they look for; one short run of each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests

from lib.errors import CheckpointError
from lib.training.pointer import Pointer, write_pointer
from scripts import check_saves, soak
from scripts._load.cases import drawing, make_case, write_cases
from scripts._load.diary import Diary, Event, summary
from scripts._load.gate import Gate
from scripts._load.ledger import Ledger
from scripts._load.memory import MemoryWatch
from scripts._load.server import Server
from scripts._load.serving import Serving
from scripts._load.small_disk import fill, make_room
from tests.support.file_server import serve_files
from tests.support.server import REPOSITORY
from tests.support.waiting import wait_for

ONE, TWO, THREE = (np.full((2, 3, 4), value, np.uint8) for value in (1, 2, 3))
IMAGE = "case0"


def ledger_with(*saves: tuple[str, str, np.ndarray]) -> Ledger:
    ledger = Ledger()
    for base, revision, labels in saves:
        ledger.acknowledge(IMAGE, base, revision, labels)
    return ledger


def test_saves_in_turn_are_fine_in_whatever_order_their_answers_come() -> None:
    for saves in (
        (("", "a", ONE), ("a", "b", TWO), ("b", "c", THREE)),
        (("b", "c", THREE), ("", "a", ONE), ("a", "b", TWO)),
    ):
        ledger = ledger_with(*saves)
        assert ledger.problems == []
        assert ledger.newest(IMAGE) == ("c", THREE)
        assert ledger.settle(IMAGE, "c", THREE.copy())
        assert ledger.acknowledged == 3


def test_two_labels_on_the_same_one_are_found() -> None:
    assert ledger_with(("", "a", ONE), ("a", "b", TWO), ("a", "c", THREE)).problems


def test_another_label_than_was_saved_is_found() -> None:
    ledger = ledger_with(("", "a", ONE))
    assert ledger.compare(IMAGE, "a", ONE.copy())
    assert ledger.compare(IMAGE, "unknown", TWO)
    assert not ledger.compare(IMAGE, "a", TWO)
    assert not ledger.settle(IMAGE, "a", TWO)
    assert len(ledger.problems) == 2


@pytest.mark.parametrize(("revision", "labels"), [("", None), ("a", ONE), ("x", THREE)])
def test_a_label_that_is_lost_is_found(revision: str, labels: np.ndarray | None) -> None:
    ledger = ledger_with(("", "a", ONE), ("a", "b", TWO))
    assert not ledger.settle(IMAGE, revision, labels)


def test_a_save_whose_answer_got_lost_may_stand_or_not() -> None:
    ledger = ledger_with(("", "a", ONE))
    ledger.doubt(IMAGE, TWO)
    assert ledger.settle(IMAGE, "a", ONE)
    ledger.doubt(IMAGE, THREE)
    assert ledger.settle(IMAGE, "x", THREE)
    assert not ledger.settle(IMAGE, "a", ONE), "it was seen, and is lost now"
    assert not ledger.settle(IMAGE, "y", TWO), "it was not there when everything was quiet"


def test_every_image_and_every_drawing_is_another_one(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, 7)
    assert len({case.shape for case in cases}) == 7
    assert all(len(set(case.clicks)) > 1 for case in cases)
    np.testing.assert_array_equal(make_case(3)[1], make_case(3)[1])
    rng = np.random.default_rng(0)
    drawings = {drawing(rng, cases[0].shape).tobytes() for _ in range(20)}
    assert len(drawings) == 20


def test_memory_that_grows_is_seen() -> None:
    watch = MemoryWatch(lambda: 0.0)
    watch.samples = [100.0, 300.0, 310.0, 310.0, 350.0, 400.0, 450.0, 450.0]
    assert watch.quarters() == [200.0, 310.0, 375.0, 450.0]
    assert watch.growth == 140.0
    watch.samples = [1.0]
    assert watch.growth == 0.0


EVENT = Event("disk full", "folder", 3, 2, 1, 0, "v0001", ("a label is gone",))


def test_a_diary_goes_on_after_a_line_that_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    Diary(path).add(EVENT)
    with path.open("a") as file:
        file.write('{"kind": "disk fu')
    again = Diary(path)
    assert again.events == [EVENT]
    again.add(replace(EVENT, kind="server killed", problems=()))
    assert [event.kind for event in Diary(path).events] == ["disk full", "server killed"]
    assert Diary(path).problems == ["a label is gone"]


def test_a_summary_adds_up_by_kind() -> None:
    lines = summary([EVENT, EVENT, replace(EVENT, store="PACS", problems=())]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["PACS", "disk", "full", "1", "3", "2", "1", "0", "0"],
        ["folder", "disk", "full", "2", "6", "4", "2", "0", "2"],
    ]


def test_what_serves_is_looked_at(tmp_path: Path) -> None:
    serving = Serving(tmp_path, "samed2d_t")
    assert serving.check() == "base"
    registry = serving._registry
    registry.folder.mkdir(parents=True)
    write_pointer(registry.folder, Pointer(("v0001",)))
    with pytest.raises(CheckpointError, match="v0001 was chosen"):
        serving.check()


def test_one_child_is_ended_and_no_other(tmp_path: Path) -> None:
    server = Server(tmp_path, tmp_path, {}, tmp_path / "log")
    code = "import subprocess, sys; p = [subprocess.Popen(['sleep', n]) for n in ('71', '72')]; "
    code += "print(flush=True); print([one.wait() for one in p[1:]], flush=True); p[0].kill()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        server._process = parent
        assert parent.stdout is not None
        parent.stdout.readline()
        assert not server.kill_child("73")
        # A process that has just been started has no command line for a moment.
        wait_for(lambda: server.kill_child("72"))
        assert parent.stdout.readline() == b"[-9]\n"


def test_a_gate_that_is_closed_lets_nothing_through() -> None:
    with serve_files(**{"x.txt": b"here"}) as server:
        gate = Gate(server.url)
        try:
            for _ in range(2):
                assert requests.get(f"{gate.address}/x.txt", timeout=10).text == "here"
                gate.close()
                with pytest.raises(requests.ConnectionError):
                    requests.get(f"{gate.address}/x.txt", timeout=10)
                gate.open()
        finally:
            gate.close()


def test_a_small_disk_is_filled_up_and_emptied(tmp_path: Path) -> None:
    """On a disk of 1 MiB that nobody else sees."""
    program = (
        "import sys; from pathlib import Path; "
        "from scripts._load.small_disk import fill, make_room\n"
        "folder = Path(sys.argv[1]); fill(folder)\n"
        "try:\n    (folder / 'x').write_bytes(bytes(200_000)); print('room')\n"
        "except OSError as error: print(error.errno)\n"
        "make_room(folder); (folder / 'x').write_bytes(bytes(200_000)); print('room')"
    )
    mount = 'mount -t tmpfs -o size=1m samed2d "$0" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "--", "sh", "-c", mount, str(tmp_path)]
    done = subprocess.run(
        [*command, sys.executable, "-c", program, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["28", "room"]


def test_a_filler_leaves_what_it_is_told(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    fill(tmp_path, leave=free)
    make_room(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.server
def test_a_short_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--users", "4", "--requests", "150", "--cases", "2", "--no-training"]
    assert soak.main([*arguments, "--json", str(out)]) == 0, capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["requests"] >= 150
    assert found["labels_saved"] > 2
    assert found["without_answer"] == 0
    assert set(found["seconds_by_kind"]) >= {"click", "save", "info", "look", "next sample"}


@pytest.mark.server
def test_a_few_faults(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--events", "3", "--users", "3", "--cases", "2", "--seed", "4"]
    arguments += ["--no-training"]
    assert check_saves.main(arguments) == 0, capfd.readouterr().out
    said = capfd.readouterr().out
    assert "3 of 3 events" in said
    assert "killed" in said
    assert "0 problems" in said
