import numpy as np
import pytest

from lib.server.drafts import Drafts


def rows(first, last, size=8):
    mask = np.zeros((size, size), dtype=bool)
    mask[first:last] = True
    return mask


@pytest.fixture
def drafts():
    return Drafts()


def drawn(drafts, image="a"):
    draft = drafts.of(image)
    return {
        label: {k: mask.unpack().sum(axis=1).nonzero()[0].tolist() for k, mask in slices.items()}
        for label, slices in draft.masks.items()
    }


def test_an_image_nobody_drew_in_has_no_draft(drafts):
    drafts.draw("a", "liver", {0: rows(0, 2)})
    assert drafts.of("b") is None


def test_an_answer_replaces_its_label_on_its_slice(drafts):
    drafts.draw("a", "liver", {3: rows(0, 2)})
    drafts.draw("a", "liver", {4: rows(0, 1)})
    drafts.draw("a", "liver", {3: rows(5, 7)})
    assert drawn(drafts) == {"liver": {3: [5, 6], 4: [0]}}


def test_an_answer_for_the_volume_replaces_the_label_everywhere(drafts):
    drafts.draw("a", "liver", {3: rows(0, 2), 9: rows(0, 2)})
    drafts.draw("a", "liver", {4: rows(0, 1)}, whole=True)
    assert drawn(drafts) == {"liver": {4: [0]}}


def test_pixels_of_another_label_stay_as_in_the_viewer(drafts):
    drafts.draw("a", "liver", {3: rows(0, 4)})
    drafts.draw("a", "spleen", {3: rows(2, 6)})
    assert drawn(drafts) == {"liver": {3: [0, 1, 2, 3]}, "spleen": {3: [4, 5]}}


def test_an_empty_answer_empties_its_slice_and_counts_as_looked_at(drafts):
    drafts.draw("a", "liver", {3: rows(0, 4)})
    drafts.draw("a", "liver", {3: rows(0, 0), 5: rows(0, 0)})
    draft = drafts.of("a")
    assert drawn(drafts) == {"liver": {3: [], 5: []}}
    assert draft.slices == (3, 5)


def test_clicks_and_version_are_kept(drafts):
    drafts.draw("a", "liver", {3: rows(0, 4)}, clicks=2, model_version="x")
    drafts.draw("a", "liver", {3: rows(0, 4)}, clicks=3, model_version="y")
    draft = drafts.of("a")
    assert (draft.clicks, draft.model_version) == (5, "y")


def test_a_draft_does_not_change_once_it_was_taken(drafts):
    drafts.draw("a", "liver", {3: rows(0, 4)})
    draft = drafts.of("a")
    drafts.draw("a", "liver", {5: rows(0, 4)})
    assert draft.slices == (3,)


def test_the_image_left_alone_for_longest_is_forgotten():
    drafts = Drafts(max_images=2)
    for image in ("a", "b", "a", "c"):
        drafts.draw(image, "liver", {0: rows(0, 2)})
    assert drafts.of("b") is None
    assert drafts.of("a") is not None and drafts.of("c") is not None
