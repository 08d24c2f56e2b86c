"""What the metadata of SEG series say."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from lib.errors import ImageError
from lib.server.stored_segs import StoredSeg, parse_seg_series


def instance(uid: str = "1.1", image: str | None = "1.9", **tags: object) -> dict[str, object]:
    file = Dataset()
    file.SOPInstanceUID = uid
    if image is not None:
        reference = Dataset()
        reference.SeriesInstanceUID = image
        file.ReferencedSeriesSequence = [reference]
    for name, value in tags.items():
        setattr(file, name, value)
    return file.to_json_dict()


def parse(*instances: dict[str, object], series: str = "1.2") -> StoredSeg:
    return parse_seg_series("1", series, instances)


def test_image_patient_and_sizes() -> None:
    seg = parse(instance(PatientID="P1", Rows=6, Columns=8, NumberOfFrames=3))
    assert (seg.study, seg.series, seg.image, seg.patient) == ("1", "1.2", "1.9", "P1")
    assert [file.sizes for file in seg.instances] == [(8, 6, 3)]


def test_without_patient_and_image() -> None:
    seg = parse(instance(image=None))
    assert (seg.image, seg.patient) == ("", "1")
    assert seg.instances[0].sizes == (0, 0, 0)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({}, {"SeriesDate": "20200101"}),
        ({"SeriesDate": "20200101"}, {"SeriesDate": "20200101", "SeriesTime": "101500"}),
        (
            {"SeriesDate": "20200101", "SeriesTime": "101500"},
            {"SeriesDate": "20200101", "SeriesTime": "101500.5"},
        ),
        # The series has the image's date, its content was made later.
        (
            {"SeriesDate": "20200102"},
            {"SeriesDate": "20190101", "ContentDate": "20200103", "ContentTime": "000000"},
        ),
        ({"ContentDate": "20200102"}, {"InstanceCreationDate": "20200103"}),
        ({"SeriesDate": ""}, {"SeriesDate": "19000101"}),
    ],
)
def test_the_newest_date_decides(older: dict[str, object], newer: dict[str, object]) -> None:
    assert parse(instance(**older)).age_key < parse(instance(**newer)).age_key


def test_of_one_second_the_later_uid_is_the_newer() -> None:
    assert parse(instance(), series="1.2.9").age_key < parse(instance(), series="1.2.10").age_key


def test_instances_are_sorted_by_date() -> None:
    seg = parse(
        instance("1.5", ContentDate="20200102"),
        instance("1.4", ContentDate="20200103"),
        instance("1.3", image=None),
    )
    assert [file.uid for file in seg.instances] == ["1.3", "1.5", "1.4"]
    assert seg.image == "1.9"


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [{}],
        [instance("../1")],
        [{"00080018": {"vr": "UI", "Value": 5}}],
        [{"00080018": "x"}],
        [None],
        [instance(Rows=[1, 2])],
    ],
)
def test_bad_metadata_are_an_error_of_ours(metadata: list[dict[str, object]]) -> None:
    with pytest.raises(ImageError, match=r"SEG series 1\.2,"):
        parse_seg_series("1", "1.2", metadata)
