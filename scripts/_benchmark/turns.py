"""Work in processes of its own, one turn at a time.

What is compared runs alternately, so that all sides share a busy minute, and each in a process of
its own, so that the memory of one is not that of the other. While one has its turn the others
sleep. The process is spawned, not forked: it inherits nothing but its arguments.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from lib.errors import Samed2dError
from scripts._benchmark.errors import BenchmarkError
from scripts._benchmark.memory import MemoryUse, PeakMeter

Plan = TypeVar("Plan")
Turn = TypeVar("Turn")

_GO_ON, _END = True, False
_SECONDS_TO_END = 10


class Side(Generic[Turn]):
    """Somebody who takes turns, in a new process. Use it as a context manager.

    Args:
        make: a function of a module, called there with ``plan``; gives what takes one turn.
        plan: can be pickled.

    Raises:
        BenchmarkError: the preparation failed there.
    """

    def __init__(self, make: Callable[[Plan], Callable[[], Turn]], plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_end, make, plan), daemon=True)
        self._process.start()
        far_end.close()
        try:
            self._receive()
        except BaseException:
            self.__exit__()
            raise

    def take_turn(self) -> Turn:
        """One turn.

        Raises:
            BenchmarkError: it failed.
        """
        self._pipe.send(_GO_ON)
        turn: Turn = self._receive()
        return turn

    def end(self) -> MemoryUse | None:
        """The memory of the whole process since its start; it ends with this."""
        self._pipe.send(_END)
        memory: MemoryUse | None = self._receive()
        return memory

    def __enter__(self) -> Side[Turn]:
        """As it is."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind."""
        self._pipe.close()
        self._process.terminate()
        self._process.join(_SECONDS_TO_END)

    def _receive(self) -> Any:
        try:
            value = self._pipe.recv()
        except EOFError as error:
            self._process.join(_SECONDS_TO_END)
            raise BenchmarkError(
                f"the measured process ended with {self._process.exitcode}"
            ) from error
        if isinstance(value, BenchmarkError):
            raise value
        return value


def _serve(pipe: Connection, make: Callable[[Any], Callable[[], Any]], plan: Any) -> None:
    """The other process: prepare, then a turn for each request."""
    # Ctrl-C reaches the whole group; who started this process ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    meter = PeakMeter()
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            take_turn = make(plan)
            pipe.send(None)
            while pipe.recv() == _GO_ON:
                pipe.send(take_turn())
            pipe.send(meter.read())
        except BenchmarkError as error:
            pipe.send(error)
        except Samed2dError as error:
            pipe.send(BenchmarkError(error.message))
