"""Who has which case: two people never label the same one at the same time.

A case that is handed out is leased for some minutes, or until it is labelled. A client that asks
again without having saved has skipped its case, which goes back: others may get it at once, the
client itself after all it has not seen.

A client that gives no name (OHIF never does) cannot be told from another one, so each of its
requests counts as somebody new. One person with such a client would so have taken a small
datastore away from itself after a few requests. Therefore where nothing else is left, the case
that was given to somebody without a name longest ago is handed out again. A case of a client with
a name never is.

Concurrency contract: one lock guards everything and is held for look-ups only. Leases are in
memory: a server that is started again knows of none.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

MAX_CLIENTS = 1000
"""What so many clients skipped is remembered, the last ones heard of."""


@dataclass(frozen=True)
class Lease:
    """A case in somebody's hands.

    Attributes:
        image: id in the datastore.
        client: name, or None.
        until: on the clock of the leases, in seconds.
    """

    image: str
    client: str | None
    until: float


@dataclass(frozen=True)
class Handed:
    """The answer to one request.

    Attributes:
        image: the case, or None where others have all that are left.
        note: how it came to this case, where that is worth a word.
        free_in: seconds until the next lease ends, where there is no case.
    """

    image: str | None
    note: str = ""
    free_in: float = 0.0


class Leases:
    """Hands out cases.

    Args:
        seconds: how long a case is kept for a client; 0 keeps none.
        clock: seconds that never go back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._skipped: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    def taken(self) -> frozenset[str]:
        """Cases that somebody has now."""
        with self._lock:
            self._end_old()
            return frozenset(self._leases)

    def release(self, image: str) -> None:
        """A case is labelled, or gone."""
        with self._lock:
            self._leases.pop(image, None)

    def give_back(self, client: str | None, unlabelled: Collection[str]) -> None:
        """A client asks again: what it still has is skipped, unless it was labelled meanwhile."""
        if client is None:
            return
        with self._lock:
            self._end_old()
            skipped = self._skipped.setdefault(client, OrderedDict())
            self._skipped.move_to_end(client)
            for image in [i for i, lease in self._leases.items() if lease.client == client]:
                del self._leases[image]
                skipped[image] = None
                skipped.move_to_end(image)
            for image in [i for i in skipped if i not in unlabelled]:
                del skipped[image]
            while len(self._skipped) > MAX_CLIENTS:
                self._skipped.popitem(last=False)

    def take(self, ranked: Sequence[str], client: str | None) -> Handed:
        """Lease the first case of an order that nobody else has.

        Args:
            ranked: ids of the unlabelled cases, the best first.
            client: who asks; None for somebody without a name.
        """
        with self._lock:
            self._end_old()
            skipped = self._skipped.get(client, OrderedDict()) if client else OrderedDict()
            free = {image: None for image in ranked if image not in self._leases}
            fresh = next((image for image in free if image not in skipped), None)
            if fresh is not None:
                return self._hand(fresh, client)
            again = next((image for image in skipped if image in free), None)
            if again is not None:
                return self._hand(again, client, "you skipped it before, and no other is left")
            nameless = [self._leases[image] for image in ranked if self._is_nameless(image)]
            if nameless:
                oldest = min(nameless, key=lambda lease: lease.until)
                note = "it was given to somebody without a client_id before, and no other is left"
                return self._hand(oldest.image, client, note)
            ends = [self._leases[image].until for image in ranked if image in self._leases]
            return Handed(None, free_in=max(0.0, min(ends, default=0.0) - self._clock()))

    def _hand(self, image: str, client: str | None, note: str = "") -> Handed:
        if self._seconds > 0:
            self._leases[image] = Lease(image, client, self._clock() + self._seconds)
        return Handed(image, note)

    def _is_nameless(self, image: str) -> bool:
        lease = self._leases.get(image)
        return lease is not None and lease.client is None

    def _end_old(self) -> None:
        now = self._clock()
        for image in [i for i, lease in self._leases.items() if lease.until <= now]:
            del self._leases[image]
