"""What check_saves.py does to a server while users work at it, and what it looks at afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from lib.errors import Samed2dError
from lib.training.registry import BASE
from scripts._load.cases import Case, Labels, write_cases
from scripts._load.diary import Diary, Event
from scripts._load.gate import Gate
from scripts._load.ledger import Ledger
from scripts._load.pacs_cases import pacs_cases
from scripts._load.person import BUSY, Person, Tally
from scripts._load.server import Server
from scripts._load.serving import Serving
from scripts._load.small_disk import fill, make_room
from scripts._load.training import SETTINGS

LONGEST = 3.0
"""Seconds of work before an event, and of a full disk or an absent PACS, at most."""
LONGEST_TRAINING = 900.0
"""Seconds that the first training may take, which shows how long one takes here."""
SPARE = 200_000
"""Bytes that a full disk may have left: enough for some files, not for all."""
PATIENCE = 60.0
ARCHITECTURE = "samed2d_t"
_TRAINING = "monailabel.interfaces.utils.app"
"""The module that the host runs a training with."""


@dataclass(frozen=True)
class Weather:
    """What a storm is to be.

    Attributes:
        users: at the same time.
        cases: images.
        seed: of all that is random.
        pacs: DICOMweb address of a PACS; None for a folder.
        trains: trainings go on.
    """

    users: int
    cases: int
    seed: int
    pacs: str | None
    trains: bool = True


class Storm:
    """Users at a server, and what happens to it.

    Args:
        weather: what it is to be.
        disk: folder that the server writes to.
        has_disk: the folder is a disk of its own.
        log: file for what the server says.
        diary: of what happened before, and now.
    """

    def __init__(
        self, weather: Weather, disk: Path, has_disk: bool, log: Path, diary: Diary
    ) -> None:
        self._disk, self._diary = disk, diary
        self._rng = np.random.default_rng([weather.seed, len(diary.events)])
        self._gate = None if weather.pacs is None else Gate(weather.pacs)
        studies: Path | str = disk / "images"
        if self._gate is None:
            self._cases: tuple[Case, ...] = write_cases(disk / "images", weather.cases)
        else:
            self._cases, studies = pacs_cases(weather.pacs, weather.cases), self._gate.address
        self._training_seconds = 0.0
        self._store = "folder" if self._gate is None else "PACS"
        conf = {"architecture": ARCHITECTURE, "backend": "torch", "labels": "liver,spleen"}
        conf["score_budget"] = "60"
        self._server = Server(disk / "server", studies, conf, log)
        self._serving = Serving(disk / "server" / "registry", ARCHITECTURE)
        self._ledger, self._tally = Ledger(), Tally()
        self._people = [self._person(number) for number in range(weather.users)]
        self._checker = self._person(weather.users)
        self._trains = weather.trains
        self._kinds: dict[str, Callable[[], bool]] = {"server killed": self._server_killed}
        self._kinds |= {"training killed": self._training_killed} if self._trains else {}
        self._kinds |= {"disk full": self._disk_full} if has_disk else {}
        self._kinds |= {} if self._gate is None else {"PACS away": self._pacs_away}

    def rage(self, events: int, minutes: float) -> None:
        """Let things happen until so many are in the diary, or for so many minutes."""
        end = time.monotonic() + 60 * minutes
        self._server.start()
        try:
            self._adopt()
            if self._trains:
                self._train_once()
            while len(self._diary.events) < events and time.monotonic() < end:
                self._let_happen(str(self._rng.choice(list(self._kinds))))
                print(
                    f"\r{len(self._diary.events)} of {events} events, "
                    f"{self._ledger.acknowledged} labels saved, "
                    f"{len(self._diary.problems)} problems",
                    end="",
                    flush=True,
                )
        finally:
            self._server.stop()
            if self._gate is not None:
                self._gate.close()
        print()

    def _let_happen(self, kind: str) -> None:
        """One event, and a line in the diary."""
        saved, lost, busy = self._counts()
        if not self._kinds[kind]():
            return
        compared, serving = self._check()
        now = self._counts()
        counts = (now[0] - saved, compared, now[1] - lost, now[2] - busy)
        self._diary.add(Event(kind, self._store, *counts, serving, self._take_problems()))

    def _counts(self) -> tuple[int, int, int]:
        return self._ledger.acknowledged, self._tally.lost, self._tally.busy

    def _take_problems(self) -> tuple[str, ...]:
        """What went wrong since the last event."""
        found = (*self._ledger.problems, *self._tally.problems)
        self._ledger.problems.clear()
        self._tally.problems.clear()
        return found

    def _server_killed(self) -> bool:
        self._train()
        self._at_work(self._server.kill)
        self._server.start()
        return True

    def _training_killed(self) -> bool:
        """False where the training ended by itself before."""
        self._train()
        killed: list[bool] = []
        longest = 1.05 * self._training_seconds
        self._at_work(lambda: killed.append(self._server.kill_child(_TRAINING)), longest)
        return killed[0]

    def _disk_full(self) -> bool:
        def for_a_while() -> None:
            fill(self._disk, leave=int(self._rng.integers(SPARE)))
            time.sleep(float(self._rng.uniform(0, LONGEST)))

        self._at_work(for_a_while)
        make_room(self._disk)
        return True

    def _pacs_away(self) -> bool:
        assert self._gate is not None
        gate = self._gate

        def for_a_while() -> None:
            gate.close()
            time.sleep(float(self._rng.uniform(0, LONGEST)))

        self._at_work(for_a_while)
        gate.open()
        return True

    def _at_work(self, event: Callable[[], None], longest: float = LONGEST) -> None:
        """Let something happen while everybody works; afterwards nobody does."""
        end = threading.Event()
        threads = [threading.Thread(target=self._work, args=(one, end)) for one in self._people]
        for thread in threads:
            thread.start()
        time.sleep(float(self._rng.uniform(0, longest)))
        try:
            event()
        finally:
            end.set()
            for thread in threads:
                thread.join()

    def _work(self, person: Person, end: threading.Event) -> None:
        while not end.is_set():
            try:
                person.act()
            except Exception as error:  # a thread that ends in silence would look like success
                self._tally.problems.append(f"{person.name}: {error!r}")

    def _adopt(self) -> None:
        """Take what stands in a PACS from earlier for saved."""
        for case in self._cases:
            found = self._standing(case)
            if found is not None and found[1] is not None:
                self._ledger.acknowledge(case.image, "", found[0], found[1])

    def _check(self) -> tuple[int, str]:
        """See that all that was saved stands, a click is answered, and what serves is sound.

        Returns:
            How many labels were compared, and the version that serves.
        """
        compared = 0
        for case in self._cases:
            found = self._standing(case)
            if found is None:
                self._tally.problems.append(f"no answer on {case.image}")
            else:
                self._ledger.settle(case.image, *found)
                compared += found[1] is not None
        self._checker.click(self._cases[0])
        try:
            return compared, self._serving.check()
        except Samed2dError as error:
            self._tally.problems.append(error.message)
            return compared, ""

    def _standing(self, case: Case) -> tuple[str, Labels | None] | None:
        """What stands; None where the server does not say so in time."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                found = self._checker.standing(case)
            except requests.RequestException:
                found = None
            if found is not None:
                return found
            time.sleep(0.2)
        return None

    def _train(self) -> None:
        """Begin a training, where that is wanted; that one runs is no matter."""
        if not self._trains:
            return
        address = f"{self._server.url}/train/samed2d"
        answer = requests.post(address, json=dict(SETTINGS), timeout=60)
        if answer.status_code >= 500 and answer.status_code != BUSY:
            self._tally.problems.append(f"training: {answer.status_code} {answer.text[:300]}")

    def _train_once(self) -> None:
        """A training that nothing disturbs, on a label for each image; how long it takes."""
        for case in self._cases:
            self._checker.save(case)
        began = time.monotonic()
        self._train()
        status = f"{self._server.url}/train/?check_if_running=true"
        while requests.get(status, timeout=60).ok and time.monotonic() < began + LONGEST_TRAINING:
            time.sleep(0.5)
        self._training_seconds = time.monotonic() - began
        if self._serving.check() == BASE:
            self._tally.problems.append("a training that nothing disturbed published nothing")

    def _person(self, number: int) -> Person:
        url, seed = self._server.url, int(self._rng.integers(1 << 30))
        return Person(url, f"user{number}", "", self._cases, self._ledger, self._tally, seed)
