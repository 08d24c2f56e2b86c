"""Which label of an image stands now, so that nobody replaces one they have never seen.

Whoever saves a label may say on which one it was drawn (``based_on``). Where another one stands by
then, the save is refused, and whoever drew both decides. Clients that say nothing (3D Slicer,
OHIF's MONAI Label panel) are not refused; the label that stood before is kept, and the answer to
the save names it.

Two people cannot both be told that nothing had changed: `turns` gives one image to one save at a
time. Two servers of one PACS have no common turn. Each asks the PACS at the moment of a save, so a
label that another server has stored is seen; of two that are saved within the same seconds both
stay in the PACS, and who came later is told.

Concurrency contract: the locks of `turns` belong to images by their hash; whoever holds one holds
no other one of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lib.errors import ConflictError

NOTHING = ""
"""What ``based_on`` says where there was no label."""
SOMEBODY = "somebody"
_LOCKS = tuple(threading.Lock() for _ in range(64))


@dataclass(frozen=True)
class Standing:
    """A final label as far as others need to know.

    Attributes:
        revision: another one for each label that was ever saved; "" where there is none.
        user: who saved it; "" where that is not known.
        saved: when, ISO 8601 in UTC; "" where that is not known.
        older: revisions of other labels of the image that are kept.
    """

    revision: str = NOTHING
    user: str = ""
    saved: str = ""
    older: frozenset[str] = frozenset()

    @property
    def told(self) -> str:
        """For sentences: "Anna Berg at 2026-11-21 10:15 UTC"."""
        when = f" at {self.saved[:16].replace('T', ' ')} UTC" if self.saved else ""
        return f"{self.user or SOMEBODY}{when}"


def standing_of(datastore: object, image: str, fresh: bool = False) -> Standing | None:
    """The final label of an image; None where nobody can tell now.

    Args:
        datastore: of the host; those of ours have a method ``standing``.
        image: id of the image.
        fresh: what is known must not even be a second old.
    """
    ask: Callable[[str, bool], Standing | None] | None = getattr(datastore, "standing", None)
    return None if ask is None else ask(image, fresh)


def turns(image: str) -> AbstractContextManager[object]:
    """The right to replace the label of an image."""
    return _LOCKS[hash(image) % len(_LOCKS)]


def check_base(standing: Standing | None, base: str | None) -> None:
    """Refuse a label that was drawn on another one than stands now.

    Args:
        standing: what stands; None where nobody can tell.
        base: what the client said; None where it said nothing.

    Raises:
        ConflictError: another one stands.
    """
    if base is None or standing is None or base == standing.revision:
        return
    if standing.revision == NOTHING:
        raise ConflictError(
            got="a label that was drawn on one that is not there any more",
            allowed="a label that was drawn on the one that stands",
            todo="save again without it; the label was NOT saved",
        )
    raise ConflictError(
        got=f"a label that was drawn without the one of {standing.told}, which is newer",
        allowed="a label that was drawn on the newest one",
        todo="look at the newer one, then save yours on top or in its place; "
        "the label was NOT saved",
    )


def told_of(before: Standing | None) -> str:
    """A sentence on the label that another one has replaced; empty where there was none."""
    if before is None or not before.revision:
        return ""
    return f" It takes the place of the label of {before.told}, which is kept."


def told_of_others(before: Standing | None, after: Standing | None, own: str) -> str:
    """A sentence on labels that came while one was saved; empty where there were none.

    Args:
        before: what stood before the save.
        after: what stands since.
        own: revision of the label that was saved.
    """
    if before is None or after is None:
        return ""
    known = {before.revision, own, NOTHING} | before.older
    if not ({after.revision} | after.older) - known:
        return ""
    return " At the same moment somebody saved another one at another server; both are kept."
