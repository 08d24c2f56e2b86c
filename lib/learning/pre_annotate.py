"""A first label for an image that nobody has clicked in, for people to correct.

Three sources, the surest first:

* ``neighbours``: the image carries a label on some slices; it is carried on to the others;
* ``examples``: other images carry labels; of the objects that the network finds by itself, on a
  grid and where labelled ones are elsewhere, those stay that look like them
  (`lib.learning.look_alikes`), and in a volume the best one of each label is carried on;
* ``proposals``: nothing is labelled; all that the network is sure of becomes one label.

Costs one encode for each slice that no cache knows, 64 decodes for each slice that is searched,
five more for each place where labelled objects are (12 of each label at most), and a few for each
slice that something is carried to. The work goes to the worker of the network behind everybody's
clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lib.inference.cache import ByteBoundedCache
from lib.inference.decoder import Embedding
from lib.inference.propagate import PropagateSettings, propagate
from lib.inference.proposals import Filter, Proposal, decode_points, grid_points, select
from lib.inference.segmenter import SliceSegmenter
from lib.inference.volume_mask import PackedMask
from lib.inference.volume_network import Step, VolumeNetwork, VolumeSlices
from lib.inference.worker import Priority
from lib.learning.look_alikes import LookAlikes, centre_of, object_features
from lib.prompts.prompt import Prompt
from lib.prompts.simulate import interior_click

Source = Literal["neighbours", "examples", "proposals"]
Masks = Mapping[str, Mapping[int, PackedMask]]

UNNAMED = "object"
"""Label of what nobody has named."""
SEARCHED = 12
"""So many slices of a volume are searched, evenly."""
MIN_LIKENESS = 0.2
"""What is less like labelled objects is none of them. On 38 slices of three kinds nothing that is
found with 0.1 is lost with 0.2; with 0.3 one of 14 left ventricles is."""
GRID = 8
"""Clicks along each side of a slice."""
AROUND = ((0.0, 0.0), (0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03))
"""Clicks at a place where a labelled object is elsewhere, as shares of the image's sides."""
ANY = Filter(min_iou=0.3, min_stability=0.5)
"""Objects that may look like labelled ones, and need not be sure for that."""
SURE = Filter(most=8)
"""Objects worth to be shown where nothing is labelled."""
SEEDS = 8
"""A label is carried on from so many of its slices at most."""
STEP_CACHE_BYTES = 16 << 20


@dataclass(frozen=True)
class PreAnnotation:
    """A first label.

    Attributes:
        masks: label -> slice -> mask; what a label was carried on from is not in it.
        source: where it came from.
        iou: mean predicted IoU of its objects, 0..1; 0 where there are none.
    """

    masks: Masks
    source: Source
    iou: float


@dataclass(frozen=True)
class _Found:
    k: int
    label: str
    rank: float
    proposal: Proposal


def network_of(segmenter: SliceSegmenter, slices: VolumeSlices) -> VolumeNetwork:
    """A network looking at a volume, with a cache of its own."""
    return VolumeNetwork(segmenter, slices, ByteBoundedCache[Step](STEP_CACHE_BYTES))


def carry_on(
    network: VolumeNetwork,
    labels: NDArray[np.integer[Any]],
    names: Mapping[int, str],
    settings: PropagateSettings | None = None,
) -> PreAnnotation:
    """From the labelled slices of a volume to the others.

    Args:
        network: looking at the volume.
        labels: (I, J, K) on the image's grid.
        names: value -> label; values without a name are left alone.
        settings: how far to go.

    Raises:
        ImageError: a slice that is no image.
    """
    masks: dict[str, dict[int, PackedMask]] = {}
    ious = []
    labelled = set(np.flatnonzero(labels.any(axis=(0, 1))).tolist())
    for value, name in names.items():
        slices = np.flatnonzero((labels == value).any(axis=(0, 1)))
        if not len(slices):
            continue
        chosen = slices[np.unique(np.linspace(0, len(slices) - 1, SEEDS).round().astype(int))]
        prompts = {int(k): _prompt_of((labels[:, :, k] == value).T) for k in chosen}
        result = propagate(network, prompts, settings)
        ious.append(result.iou)
        masks[name] = {k: mask for k, mask in result.masks.items() if k not in labelled}
    return PreAnnotation(_apart(masks), "neighbours", _mean(ious))


def recognise(
    network: VolumeNetwork,
    known: LookAlikes,
    settings: PropagateSettings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreAnnotation:
    """Objects that look like labelled ones.

    Args:
        network: looking at the image.
        known: labelled objects of the same encoder.
        settings: how far the best object of a volume is carried.
        progress: called with slices searched and in all.

    Raises:
        ImageError: a slice that is no image.
    """
    found: list[_Found] = []
    searched = searched_slices(network.slices.count)
    for done, k in enumerate(searched, start=1):
        found += _search(network, k, known)
        progress(done, len(searched))
    found.sort(key=lambda item: -item.rank)
    if network.slices.count > 1:
        return _carried(network, found, known, settings)
    masks: dict[str, dict[int, PackedMask]] = {}
    kept = [item for label in known.labels for item in _best(found, label, known.most(label))]
    for item in sorted(kept, key=lambda item: -item.rank):
        _add(masks, item.label, item.k, network.mask(item.k, item.proposal.low_res))
    return PreAnnotation(_apart(masks), "examples", _mean([i.proposal.iou for i in kept]))


def suggest(
    network: VolumeNetwork, progress: Callable[[int, int], None] = lambda done, total: None
) -> PreAnnotation:
    """All that the network is sure of, as label `UNNAMED`; arguments as for `recognise`."""
    masks: dict[str, dict[int, PackedMask]] = {}
    ious = []
    searched = searched_slices(network.slices.count)
    for done, k in enumerate(searched, start=1):
        for proposal in _proposals(network, k, SURE)[1]:
            ious.append(proposal.iou)
            _add(masks, UNNAMED, k, network.mask(k, proposal.low_res))
        progress(done, len(searched))
    return PreAnnotation(masks, "proposals", _mean(ious))


def searched_slices(count: int) -> list[int]:
    """The slices of a volume that are searched: all of few, evenly of many."""
    if count <= SEARCHED:
        return list(range(count))
    return sorted({round((n + 0.5) * count / SEARCHED - 0.5) for n in range(SEARCHED)})


def _search(network: VolumeNetwork, k: int, known: LookAlikes) -> list[_Found]:
    embedding, proposals = _proposals(network, k, ANY, known.places())
    numbers = embedding.tensor.float().cpu().numpy()
    found = []
    for proposal in proposals:
        mask = proposal.mask
        features = object_features(numbers, mask)
        likeness = known.likeness(features, float(mask.mean()), centre_of(mask))
        if likeness is not None and likeness.value >= MIN_LIKENESS:
            rank = likeness.value * proposal.iou
            found.append(_Found(k, likeness.label, rank, proposal))
    return found


def _proposals(
    network: VolumeNetwork, k: int, wanted: Filter, places: Sequence[tuple[float, float]] = ()
) -> tuple[Embedding, tuple[Proposal, ...]]:
    segmenter, view = network.segmenter, network.view(k)
    worker = segmenter.worker
    image = worker.run(Priority.AHEAD, lambda: segmenter.embedder.embed(view)).embedding

    def run(work: Callable[[], object]) -> object:
        return worker.run(Priority.AHEAD, work)

    height, width = image.height, image.width
    points = [
        (min(max(x + dx, 0.0), 1.0) * (width - 1), min(max(y + dy, 0.0), 1.0) * (height - 1))
        for x, y in places
        for dx, dy in AROUND
    ]
    points += grid_points(height, width, GRID)
    return image, select(decode_points(segmenter.decoder, image, points, run=run), wanted)


def _carried(
    network: VolumeNetwork,
    found: list[_Found],
    known: LookAlikes,
    settings: PropagateSettings | None,
) -> PreAnnotation:
    masks: dict[str, Mapping[int, PackedMask]] = {}
    ious = []
    for label in known.labels:
        for item in _best(found, label, 1):
            point, logits = item.proposal.point, item.proposal.logits
            prompt = Prompt(points=(point,), labels=(1,), mask=logits)
            result = propagate(network, {item.k: prompt}, settings)
            masks[label] = result.masks
            ious.append(result.iou)
    return PreAnnotation(_apart(masks), "examples", _mean(ious))


def _best(found: list[_Found], label: str, most: int) -> list[_Found]:
    return [item for item in found if item.label == label][:most]


def _prompt_of(mask: NDArray[np.bool_]) -> Prompt:
    """A labelled slice as a prompt: its mask, and a click deep inside of it."""
    click = interior_click(mask)
    point = (float(click.x), float(click.y))
    return Prompt(points=(point,), labels=(1,), mask=mask.astype(np.float32))


def _add(
    masks: dict[str, dict[int, PackedMask]], label: str, k: int, mask: NDArray[np.bool_]
) -> None:
    slices = masks.setdefault(label, {})
    slices[k] = PackedMask.pack(mask | slices[k].unpack() if k in slices else mask)


def _apart(masks: Masks) -> Masks:
    """No pixel has two labels: the one named first keeps it."""
    apart: dict[str, dict[int, PackedMask]] = {}
    for label, slices in masks.items():
        apart[label] = {}
        for k, packed in slices.items():
            mask = packed.unpack()
            for others in list(apart.values())[:-1]:
                if k in others:
                    mask &= ~others[k].unpack()
            apart[label][k] = PackedMask.pack(mask)
    return apart


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
