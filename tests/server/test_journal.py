"""Saved labels survive: a killed process, a damaged file, a full disk, a clock set back."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.errors import UnavailableError
from lib.server import journal as module
from lib.server.journal import DAMAGED, ENTRY, LABEL, STATE, Journal, SavedLabel, journal_folder
from lib.server.label_info import LabelFacts
from tests.support.server import REPOSITORY

FACTS = LabelFacts(
    user="ann",
    model_version="v1",
    prompts=3,
    names=((1, "liver"), (2, "Läsion")),
    reviewed=(0, 4),
    algorithm="SEMIAUTOMATIC",
    sent='{"own": 1}',
)


@pytest.fixture
def label(tmp_path: Path) -> Path:
    path = tmp_path / "label.nii.gz"
    path.write_bytes(b"a label map")
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "data" / "journal")


def reopened(journal: Journal) -> Journal:
    return Journal(journal.folder)


def label_files(journal: Journal) -> list[str]:
    return sorted(path.parent.name for path in journal.folder.glob(f"*/{LABEL}"))


def test_a_label_is_found_again_with_all_its_facts(journal: Journal, label: Path) -> None:
    assert journal.entries() == journal.damaged() == ()
    assert not journal.folder.exists()
    added = journal.add("1.2.3", label, FACTS, study="1.2")
    (found,) = reopened(journal).entries()
    assert found == added
    for name in LabelFacts.__dataclass_fields__:
        assert getattr(found, name) == getattr(FACTS, name)
    assert (found.image, found.study, found.tag, found.state) == (
        "1.2.3",
        "1.2",
        "final",
        "pending",
    )
    assert found.created == datetime.fromisoformat(found.saved)
    assert found.series_uid != found.instance_uid
    file = reopened(journal).label_file(found)
    assert file is not None
    assert file.read_bytes() == b"a label map"


def test_the_newest_label_of_an_image(journal: Journal, label: Path) -> None:
    assert journal.newest("a") is None
    first = journal.add("a", label, FACTS)
    other = journal.add("b", label, FACTS)
    second = journal.add("a", label, LabelFacts())
    assert journal.newest("a") == second
    assert journal.newest("b") == other
    assert (first.supersedes, other.supersedes, second.supersedes) == ("", "", first.key)
    assert [entry.key for entry in journal.entries()] == [first.key, other.key, second.key]
    assert len({e.series_uid for e in journal.entries()}) == 3


def test_a_clock_that_was_set_back_makes_nothing_old(tmp_path: Path, label: Path) -> None:
    clock = [datetime(2030, 1, 1, tzinfo=UTC)]
    journal = Journal(tmp_path / "journal", now=lambda: clock[0])
    first = journal.add("a", label, FACTS)
    clock[0] -= timedelta(days=300)
    second = journal.add("a", label, FACTS)
    assert first.key < second.key
    assert first.created < second.created
    assert journal.newest("a") == second


def test_states_last(journal: Journal, label: Path) -> None:
    one, two, three = (journal.add(name, label, FACTS) for name in "abc")
    journal.mark_stored(one.key)
    journal.mark_problem(two.key, "the PACS is down")
    journal.mark_problem(three.key, "refused with 403", refused=True)
    again = reopened(journal)
    assert [e.state for e in again.entries()] == ["stored", "pending", "refused"]
    assert [e.problem for e in again.pending()] == ["the PACS is down", "refused with 403"]
    # Another process sees what this one does.
    journal.mark_stored(two.key)
    assert again.pending() == (journal.get(three.key),)
    assert again.get("nothing") is None


def test_a_label_file_goes_when_a_newer_one_is_stored(journal: Journal, label: Path) -> None:
    old, other, new = (journal.add(name, label, FACTS) for name in "aba")
    journal.mark_stored(old.key)
    assert len(label_files(journal)) == 3  # the newer one is not in the PACS yet
    journal.mark_stored(new.key)
    assert label_files(journal) == sorted([other.key, new.key])
    assert journal.label_file(old) is None
    assert [e.key for e in reopened(journal).entries()] == [old.key, other.key, new.key]
    assert journal.damaged() == ()


def test_a_newer_label_that_is_stored_first_frees_nothing_under_way(
    journal: Journal, label: Path
) -> None:
    old, new = journal.add("a", label, FACTS), journal.add("a", label, FACTS)
    journal.mark_stored(new.key)
    assert label_files(journal) == [old.key, new.key]
    journal.mark_stored(old.key)
    assert label_files(journal) == [new.key]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"text"', "{}", "\0" * 500, '{"key": "x"}']
)
def test_a_damaged_entry_is_set_aside(
    journal: Journal, label: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = journal.add("a", label, FACTS), journal.add("b", label, FACTS)
    (journal.folder / bad.key / ENTRY).write_text(text)
    again = reopened(journal)
    assert again.entries() == (good,)
    assert again.damaged() == (bad.key,)
    assert (journal.folder / DAMAGED / bad.key / LABEL).read_bytes() == b"a label map"
    assert bad.key in caplog.text
    again.add("a", label, FACTS)
    assert len(again.entries()) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"reviewed": ["x"]},
        {"names": [1]},
        {"prompts": None},
        {"algorithm": "x"},
        {"written": "now"},
        {"image": 3},
        {"key": "other"},
    ],
)
def test_an_entry_of_wrong_types_is_set_aside(
    journal: Journal, label: Path, change: dict[str, object]
) -> None:
    file = journal.folder / journal.add("a", label, FACTS).key / ENTRY
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert reopened(journal).entries() == ()
    assert len(journal.damaged()) == 1


@pytest.mark.parametrize("text", [None, "", '{"state": "sold", "problem": ""}'])
def test_a_damaged_state_is_delivered_once_more(
    journal: Journal, label: Path, text: str | None
) -> None:
    added = journal.add("a", label, FACTS)
    journal.mark_stored(added.key)
    state = journal.folder / added.key / STATE
    state.unlink()
    if text is not None:
        state.write_text(text)
    assert reopened(journal).pending() == (added,)


def test_a_label_file_that_has_changed_is_not_used(journal: Journal, label: Path) -> None:
    added = journal.add("a", label, FACTS)
    (journal.folder / added.key / LABEL).write_bytes(b"a label mop")
    assert journal.label_file(added) is None
    assert journal.damaged() == (added.key,)
    assert journal.entries() == ()


def test_what_is_not_of_the_journal_is_left_alone(journal: Journal, label: Path) -> None:
    added = journal.add("a", label, FACTS)
    (journal.folder / ".keep").write_text("x")
    (journal.folder / "note.txt").write_text("x")
    assert journal.entries() == (added,)
    assert (journal.folder / ".keep").exists()


def test_left_over_parts_are_removed_when_they_are_old(journal: Journal, label: Path) -> None:
    journal.add("a", label, FACTS)
    old, fresh = journal.folder / ".part-old", journal.folder / ".part-fresh"
    old.mkdir()
    fresh.mkdir()
    os.utime(old, (0, 0))
    assert len(reopened(journal).entries()) == 1
    assert not old.exists()
    assert fresh.exists()


def test_a_full_disk_is_said_and_leaves_nothing(
    journal: Journal, label: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = journal.add("a", label, FACTS)

    def full(source: object, target: Path) -> None:
        target.write_bytes(b"a la")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UnavailableError, match=r"No space left.*NOT saved"):
        journal.add("a", label, FACTS)
    assert journal.entries() == (kept,)
    assert [path.name for path in journal.folder.iterdir()] == [kept.key]


def test_a_state_that_cannot_be_kept_ends_nothing(
    journal: Journal, label: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = journal.add("a", label, FACTS)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    journal.mark_stored(added.key)
    assert journal.pending() == (added,)


def test_each_pacs_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one = journal_folder(tmp_path, "http://a/dicom-web")
    assert one == journal_folder(tmp_path, "http://a/dicom-web/")
    assert one != journal_folder(tmp_path, "http://b/dicom-web")
    assert one.parent == tmp_path


def test_labels_of_a_model_alone_do_not_count(journal: Journal, label: Path) -> None:
    assert journal.add("a", label, LabelFacts(algorithm="MANUAL")).counts
    assert not journal.add("a", label, LabelFacts(algorithm="AUTOMATIC")).counts


WRITER = """
import sys
from pathlib import Path
from lib.server.journal import Journal
from lib.server.label_info import LabelFacts
journal = Journal(Path(sys.argv[1]))
while True:
    for image in "ab":
        entry = journal.add(image, Path(sys.argv[2]), LabelFacts(user="u"))
        print("added", entry.key, flush=True)
        journal.mark_stored(entry.key)
        print("stored", entry.key, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 2, 7, 30])
def test_whatever_add_returned_is_there_after_a_kill(
    tmp_path: Path, label: Path, lines: int
) -> None:
    label.write_bytes(os.urandom(1 << 20))
    folder = tmp_path / "journal"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(label)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = [process.stdout.readline().split() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    said += [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1]
    process.wait()
    journal = Journal(folder)
    found = {entry.key: entry for entry in journal.entries()}
    assert journal.damaged() == ()
    for word, key in said:
        assert len(key) == len(next(iter(found)))
        assert key in found
        assert word == "added" or found[key].state == "stored"
    for entry in found.values():
        newest: SavedLabel | None = journal.newest(entry.image)
        if entry == newest or entry.state != "stored":
            assert journal.label_file(entry) is not None
