"""Where the final labels of a PACS's images are, and which of an image is the newest.

A label is in the PACS as a DICOM SEG, in the journal of this computer, or in both: a SEG and the
journal entry with its UID are one. What counts:

* SEGs that the PACS lists, whoever made them, but for those that a model of ours made alone;
* labels of the journal that are on their way to the PACS.

A label that was in the PACS and is not listed any more was deleted there, and does not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lib.server.journal import SavedLabel
from lib.server.stored_segs import StoredSeg, age_key


@dataclass(frozen=True)
class LabelSource:
    """One final label of an image.

    Attributes:
        image: id of the image.
        entry: of the journal, or None.
        seg: of the PACS, or None; at least one of both is there.
    """

    image: str
    entry: SavedLabel | None
    seg: StoredSeg | None

    @property
    def series(self) -> str:
        """SeriesInstanceUID of the SEG."""
        return self.seg.series if self.seg else self.entry.series_uid if self.entry else ""

    @property
    def age_key(self) -> tuple[str, list[int]]:
        """Sorts by when it was saved."""
        if self.entry is not None:
            return age_key(self.entry.created.strftime("%Y%m%d%H%M%S.%f"), self.series)
        return self.seg.age_key if self.seg else ("", [])


def sources_by_image(
    entries: Iterable[SavedLabel], segs: Iterable[StoredSeg]
) -> dict[str, tuple[LabelSource, ...]]:
    """Image id -> its final labels, newest first.

    Args:
        entries: of the journal, read before the PACS was asked: what is delivered meanwhile then
            counts once.
        segs: of the PACS.
    """
    saved = {entry.series_uid: entry for entry in entries}
    found = []
    listed = set()
    for seg in segs:
        listed.add(seg.series)
        if not seg.automatic:
            entry = saved.get(seg.series)
            own = entry if entry is not None and entry.image == seg.image else None
            found.append(LabelSource(seg.image, own, seg))
    found += [
        LabelSource(entry.image, entry, None)
        for entry in saved.values()
        if entry.series_uid not in listed and entry.state != "stored" and entry.counts
    ]
    by_image: dict[str, list[LabelSource]] = {}
    for source in sorted(found, key=lambda source: source.age_key, reverse=True):
        by_image.setdefault(source.image, []).append(source)
    return {image: tuple(sources) for image, sources in by_image.items()}
