import json
import threading

import pytest

from lib.options import parse_options
from lib.server import auto_train
from lib.server.auto_train import FILE, AutoTrain, follow_labels


class Starter:
    """Counts starts; says that a training runs for the first so many tries."""

    def __init__(self, busy=0, fails=0):
        self.busy, self.fails = busy, fails
        self.tries = 0
        self.started = threading.Semaphore(0)

    def __call__(self):
        self.tries += 1
        if self.tries <= self.fails:
            raise RuntimeError("no")
        if self.tries <= self.fails + self.busy:
            return False
        self.started.release()
        return True

    def begun(self, seconds=10.0):
        return self.started.acquire(timeout=seconds)


def following(start, folder, every=2):
    trainer = AutoTrain(every, start, folder, retry=0.01)
    trainer.follow()
    return trainer


def test_enough_images_start_a_training(tmp_path):
    start = Starter()
    trainer = following(start, tmp_path)
    trainer.saved("a")
    assert not start.begun(0.2)
    trainer.saved("b")
    assert start.begun()
    assert not start.begun(0.2)


def test_one_image_saved_again_is_one_image(tmp_path):
    start = Starter()
    trainer = following(start, tmp_path)
    for _ in range(5):
        trainer.saved("a")
    assert not start.begun(0.2)
    assert trainer.waiting == 1


def test_it_waits_for_a_training_that_runs_and_for_one_that_cannot_start(tmp_path):
    start = Starter(busy=2, fails=1)
    trainer = following(start, tmp_path)
    trainer.saved("a")
    trainer.saved("b")
    assert start.begun()
    assert start.tries == 4


def test_labels_saved_while_it_starts_count_for_the_next_one(tmp_path):
    inside, go = threading.Event(), threading.Event()
    starter = Starter()

    def start():
        inside.set()
        assert go.wait(10)
        return starter()

    trainer = following(start, tmp_path, every=1)
    trainer.saved("a")
    assert inside.wait(10)
    inside.clear()
    trainer.saved("b")
    go.set()
    assert starter.begun() and starter.begun()
    assert not starter.begun(0.2)


def test_the_count_survives_a_restart(tmp_path):
    AutoTrain(2, Starter(), tmp_path).saved("a")
    start = Starter()
    following(start, tmp_path).saved("b")
    assert start.begun()


@pytest.mark.parametrize("content", ["", "[]", '{"images": 3}', "\x00"])
def test_a_damaged_count_begins_anew(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    trainer = AutoTrain(2, Starter(), tmp_path)
    assert trainer.waiting == 0
    trainer.saved("a")
    assert json.loads((tmp_path / FILE).read_text()) == {"images": ["a"]}


def test_a_folder_that_cannot_be_written_to_does_not_end_a_save(tmp_path):
    (tmp_path / "file").touch()
    trainer = AutoTrain(2, Starter(), tmp_path / "file")
    trainer.saved("a")
    assert trainer.waiting == 1


def test_it_is_off_by_default(tmp_path):
    assert follow_labels(parse_options({}, {}), "samed2d") is None


def test_it_starts_the_quick_training_as_a_client_would(monkeypatch, tmp_path):
    requests = []

    def run(method, request):
        requests.append((method, request))
        return {"id": 1}, None

    monkeypatch.setattr(auto_train.AsyncTask, "run", run)
    assert auto_train.start("samed2d")
    assert requests == [("train", {"model": "samed2d", "train": "decoder", "max_epochs": 5})]
    monkeypatch.setattr(auto_train.AsyncTask, "run", lambda method, request: (None, "running"))
    assert not auto_train.start("samed2d")
