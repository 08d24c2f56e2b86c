"""Labelled volumes of a datastore, or why they are left out."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data.labelled_slices import EMPTY, NO_LABEL_MAP, OTHER_GRID, TOO_SMALL
from lib.data.labelled_volumes import VolumeCollector
from lib.imaging.volume import Volume


def box(shape=(20, 20, 12), size=8) -> np.ndarray:
    labels = np.zeros(shape, np.uint16)
    labels[4 : 4 + size, 4 : 4 + size, 3 : 3 + size] = 5
    return labels


def volume() -> Volume:
    return Volume(np.zeros((20, 20, 12), np.float32), np.diag([1.5, 1.5, 3.0, 1.0]))


def test_a_volume_is_taken_with_its_objects_and_whose_it_is():
    collector = VolumeCollector()
    left = collector("scan", "anna", volume(), box(), {5: "liver"})
    assert left.images == () and left.skipped == ()
    (taken,) = collector.volumes
    assert (taken.name, taken.patient, taken.names) == ("scan", "anna", {1: "liver"})
    assert taken.values.shape == taken.labels.shape
    assert taken.values.shape[2] > 20, "voxels of 1.5 mm"
    assert (taken.labels == 1).sum() == 2 * 8**3


def test_values_without_a_name_have_one():
    collector = VolumeCollector()
    collector("scan", "anna", volume(), box(), {})
    assert collector.volumes[0].names == {1: "label 5"}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (box() * 0, EMPTY),
        (box(size=2), TOO_SMALL),
        (box((20, 20, 13)), OTHER_GRID),
        (np.arange(4800, dtype=np.uint16).reshape(20, 20, 12), NO_LABEL_MAP),
    ],
)
def test_what_cannot_be_learned_from_is_left_out_with_a_reason(labels, reason):
    collector = VolumeCollector()
    (skipped,) = collector("scan", "anna", volume(), labels, {}).skipped
    assert (skipped.image, skipped.reason) == ("scan", reason)
    assert collector.volumes == []
