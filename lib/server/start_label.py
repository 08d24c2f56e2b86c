"""The label map that a click starts from: one that was saved, or one sent along.

Its part of the clicked slice goes to the network as mask prompt, before the first point, and stays
part of the prompt when further points follow. A viewer that has just that part may send it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from numpy.typing import NDArray

from lib.errors import ImageError, PromptError, RequestError
from lib.imaging.overlap import without_others
from lib.imaging.volume import Volume
from lib.prompts import Prompt
from lib.server.datastore import PacsDatastore
from lib.server.label_info import names_by_value

FILE_KEY, NAMES_KEY = "start_label", "start_names"
"""Keys of the host's dict under which the file travels; never a client's."""
SLICE_SUFFIX = ".bin"
"""Of a file that holds the clicked slice alone: one byte for each pixel, i fastest."""
TOLERANCE_MM = 1e-2


@dataclass(frozen=True)
class StartLabel:
    """The part of a label map on one slice.

    Attributes:
        labels: (H, W), 0 where no label is.
        own: value of the clicked label in it, or None where all values are meant.
    """

    labels: NDArray[np.int64]
    own: int | None

    def before(self, prompt: Prompt) -> Prompt:
        """The prompt with this mask to start from; as it is where there is none on the slice."""
        mask = self.labels != 0 if self.own is None else self.labels == self.own
        return replace(prompt, mask=mask.astype(np.float32)) if mask.any() else prompt

    def keep_others(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (H, W) less the pixels of other labels."""
        return mask if self.own is None else without_others(mask, self.labels, self.own)


def start_label(
    label: Volume, names: Mapping[str, int], image: Volume, k: int, name: str | None
) -> StartLabel:
    """Slice k of a label map.

    Args:
        label: the label map.
        names: label -> value, as far as known.
        image: that it must belong to.
        k: slice.
        name: of the clicked label, or None.

    Raises:
        ImageError: a label map on another grid.
        PromptError: several values, and no way to tell which is the clicked label's.
    """
    same = label.shape == image.shape
    if not same or not np.allclose(label.affine, image.affine, atol=TOLERANCE_MM):
        raise ImageError(
            got=f"a label map of {label.shape} voxels on "
            + ("another position in space" if same else "another grid"),
            allowed=f"the image's own grid of {image.shape} voxels",
            todo="resample the label map to the image",
        )
    labels = np.rint(label.slice(k)).astype(np.int64)
    if name is not None and name in names:
        return StartLabel(labels, names[name])
    values = np.unique(labels[labels != 0])
    if len(values) > 1:
        raise PromptError(
            got=f"a label map with the values {', '.join(map(str, values[:8]))}, none of them "
            f"known as {name!r}",
            allowed=", ".join(sorted(names)) or "one value on the clicked slice",
            todo="send the name of one of its labels as 'label', or only that label",
        )
    return StartLabel(labels, None)


def start_slice(file: Path, image: Volume) -> StartLabel:
    """The mask of the clicked slice, sent without the others; any value but 0 is inside.

    Args:
        file: its bytes.
        image: that it must belong to.

    Raises:
        ImageError: another number of pixels than a slice of the image has.
    """
    width, height, _ = image.shape
    values = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    if values.size != width * height:
        raise ImageError(
            got=f"a mask of {values.size} bytes to start from",
            allowed=f"{width} x {height} bytes, one for each pixel of the clicked slice",
            todo="send the slice of the image that was clicked",
        )
    return StartLabel(values.reshape(height, width).astype(np.int64), None)


def saved_label(datastore: Datastore, image: str) -> dict[str, Any]:
    """Where the saved label of an image lies, and the names in it; for the host's dict.

    Nothing where none was saved. Final labels go before others.

    Raises:
        UnavailableError: the PACS, where the labels are, does not answer.
    """
    if isinstance(datastore, PacsDatastore):
        final = datastore.final_label(image)
        if final is not None:
            return {FILE_KEY: final.path, NAMES_KEY: _values_by_name(final.names)}
    tags = datastore.get_labels_by_image_id(image)
    if not tags:
        return {}
    tag = DefaultLabelTag.FINAL if DefaultLabelTag.FINAL in tags else next(iter(tags))
    path = datastore.get_label_uri(tags[tag], tag)
    if not path:
        return {}
    names = names_by_value(datastore.get_label_info(tags[tag], tag) or {})
    return {FILE_KEY: Path(path), NAMES_KEY: _values_by_name(names)}


def _values_by_name(names: Mapping[int, str]) -> dict[str, int]:
    """Of values with the same name the smallest."""
    return {name: value for value, name in sorted(names.items(), reverse=True)}


def no_start(model: str) -> RequestError:
    """The answer of a model that starts from clicks only."""
    return RequestError(
        got=f"a label map to start from, for {model}",
        allowed="points and a roi; samed2d takes a label map",
        todo="leave out 'label' and 'start'",
    )
