"""Who judges a training: stable, by patient, and nobody who was learned from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.pool import LabelledImage
from lib.data.split import Split, split_cases, unit_id

people = st.sets(st.text(min_size=1, max_size=6), min_size=2, max_size=30)
shares = st.floats(0.0, 1.0)


def slices(patients: set[str], count: int = 2) -> list[LabelledImage]:
    pixels, masks = np.zeros((4, 4)), np.ones((1, 4, 4), bool)
    return [
        LabelledImage(f"{patient}#k{k:04d}", patient, pixels, masks, ("a",))
        for patient in sorted(patients)
        for k in range(count)
    ]


def patients_of(images: tuple[LabelledImage, ...]) -> set[str]:
    return {image.patient for image in images}


def sides(split: Split) -> tuple[list[str], list[str]]:
    return [i.name for i in split.training], [i.name for i in split.validation]


@given(people, shares)
def test_patients_are_on_one_side_and_no_side_is_empty(patients: set[str], share: float) -> None:
    split = split_cases(slices(patients), share)
    assert split.level == "patient"
    assert split.training
    assert split.validation
    assert not patients_of(split.training) & patients_of(split.validation)
    assert len(split.training) + len(split.validation) == 2 * len(patients)
    assert len(patients_of(split.validation)) <= len(patients) / 2


@given(people, shares, st.randoms())
def test_the_order_of_the_images_does_not_matter(
    patients: set[str], share: float, random: object
) -> None:
    images = slices(patients)
    split = split_cases(images, share)
    random.shuffle(images)  # type: ignore[attr-defined]
    assert sides(split_cases(images, share)) == sides(split)


@given(people, people, shares)
def test_nobody_who_was_learned_from_judges_after_patients_were_added(
    patients: set[str], added: set[str], share: float
) -> None:
    before = split_cases(slices(patients), share)
    seen = frozenset(unit_id(patient) for patient in patients_of(before.training))
    after = split_cases(slices(patients | added), share, seen)
    assert not patients_of(before.training) & patients_of(after.validation)
    assert after.level == "patient"


def test_a_patient_keeps_its_side_when_patients_are_added() -> None:
    first = {f"patient {n}" for n in range(60)}
    before = split_cases(slices(first))
    after = split_cases(slices(first | {f"new {n}" for n in range(90)}))
    assert patients_of(after.validation) & first == patients_of(before.validation)
    assert patients_of(after.validation) - first


@given(people, shares, st.data())
def test_seen_patients_never_judge_unless_all_were(
    patients: set[str], share: float, data: st.DataObject
) -> None:
    known = data.draw(st.sets(st.sampled_from(sorted(patients))))
    split = split_cases(slices(patients), share, frozenset(map(unit_id, known)))
    assert split.training
    assert split.validation
    if known == patients:
        assert split.level == "none"
    else:
        assert not known & patients_of(split.validation)
        assert split.level == "patient"


@pytest.mark.parametrize(("count", "judging"), [(2, 1), (3, 1), (5, 1), (6, 2), (9, 3), (14, 3)])
def test_of_few_patients_up_to_three_judge(count: int, judging: int) -> None:
    split = split_cases(slices({f"patient {n}" for n in range(count)}, 1), 0.01)
    assert len(split.validation) == judging


def test_about_a_fifth_of_many_patients_judge() -> None:
    split = split_cases(slices({f"patient {n}" for n in range(500)}, 1))
    assert 70 < len(split.validation) < 130


@pytest.mark.parametrize(("count", "judging"), [(2, 1), (3, 1), (5, 1), (6, 2), (20, 4)])
def test_of_one_patient_the_last_slices_judge(count: int, judging: int) -> None:
    images = slices({"only"}, count)
    split = split_cases(images[::-1])
    assert split.level == "slice"
    assert [*split.training, *split.validation] == images
    assert len(split.validation) == judging


@given(shares, st.integers(2, 40))
def test_of_one_patient_both_sides_get_something(share: float, count: int) -> None:
    split = split_cases(slices({"only"}, count), share)
    assert split.training
    assert split.validation


def test_one_slice_does_both_and_that_is_said() -> None:
    split = split_cases(slices({"only"}, 1))
    assert split.level == "none"
    assert split.training == split.validation
    assert len(split.training) == 1


def test_nothing_gives_nothing() -> None:
    assert split_cases([]) == Split((), (), "none")


def test_the_id_of_a_patient_hides_it_and_never_changes() -> None:
    assert unit_id("MRN 12345") == "4f10301a80eea204"
