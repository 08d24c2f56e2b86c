"""What was saved, to compare with what a server hands out.

A save that was answered is acknowledged: from then on its label stands, until another one that was
drawn on it takes its place. Of a save whose answer got lost nobody knows; until something is seen
of it, it may stand or not.

Concurrency contract: ``_lock`` guards everything.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from scripts._load.cases import Labels


@dataclass
class _Image:
    """Labels by revision; what others were drawn on; labels of which nobody knows."""

    known: dict[str, Labels] = field(default_factory=dict)
    bases: set[str] = field(default_factory=set)
    in_doubt: list[Labels] = field(default_factory=list)

    @property
    def newest(self) -> str:
        """The one that no other was drawn on, whatever the order in which answers came."""
        return next((one for one in reversed(self.known) if one not in self.bases), "")


class Ledger:
    """Labels of all images.

    Attributes:
        problems: sentences on what was lost, mixed up or overwritten unseen.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: dict[str, _Image] = {}
        self.problems: list[str] = []

    @property
    def acknowledged(self) -> int:
        """Saves that were answered."""
        with self._lock:
            return sum(len(image.known) for image in self._images.values())

    def labels(self, image: str) -> dict[str, Labels]:
        """Revision -> label of all acknowledged saves of an image, oldest first."""
        with self._lock:
            return dict(self._of(image).known)

    def newest(self, image: str) -> tuple[str, Labels] | None:
        """The acknowledged label that stands, with its revision."""
        with self._lock:
            found = self._of(image)
            return (found.newest, found.known[found.newest]) if found.newest else None

    def acknowledge(self, image: str, base: str, revision: str, labels: Labels) -> None:
        """A save was answered."""
        with self._lock:
            found = self._of(image)
            if base in found.bases or revision in found.known:
                self.problems.append(f"{image}: two labels took the place of {base or 'nothing'}")
            found.bases.add(base)
            found.known[revision] = labels

    def doubt(self, image: str, labels: Labels) -> None:
        """The answer to a save got lost."""
        with self._lock:
            self._of(image).in_doubt.append(labels)

    def compare(self, image: str, revision: str, labels: Labels | None) -> bool:
        """Whether a server hands out what was saved under this revision, voxel by voxel.

        True as well where the revision is not known (yet).
        """
        with self._lock:
            expected = self._of(image).known.get(revision)
            if expected is None or (labels is not None and np.array_equal(expected, labels)):
                return True
            self.problems.append(f"{image}: another label is handed out than was saved")
            return False

    def settle(self, image: str, revision: str, labels: Labels | None) -> bool:
        """Compare with what stands while nobody saves; what was in doubt is none any more.

        Args:
            image: id.
            revision: of what stands; "" for nothing.
            labels: what stands.
        """
        with self._lock:
            found = self._of(image)
            doubtful, found.in_doubt = found.in_doubt, []
            if revision == found.newest:
                expected = found.known.get(revision)
                same = expected is None if labels is None else _same(labels, expected)
            else:
                same = labels is not None and any(_same(labels, one) for one in doubtful)
                if same and labels is not None:
                    found.bases.add(found.newest)
                    found.known[revision] = labels
            if not same:
                self.problems.append(f"{image}: what stands is no label that was saved last")
            return same

    def _of(self, image: str) -> _Image:
        return self._images.setdefault(image, _Image())


def _same(labels: Labels, expected: Labels | None) -> bool:
    return expected is not None and np.array_equal(labels, expected)
