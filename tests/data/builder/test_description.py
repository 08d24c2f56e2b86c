"""The YAML file that describes an archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.data.builder.description import class_ids, parse_description
from lib.errors import OptionError
from tests.support.archives import DESCRIPTION


def parsed(folder: Path, text: str):
    path = folder / "archive.yaml"
    path.write_text(text)
    return parse_description(path)


def test_a_whole_one(tmp_path: Path) -> None:
    first, second = parsed(tmp_path, DESCRIPTION)
    assert first.root == str(tmp_path / "volumes")
    assert first.classes == {"1": "liver", "2": "spleen", "7": None}
    assert (second.intensity, second.axes, second.orientation) == ("volume", "xyz", "lps")
    assert class_ids((first, second)) == {
        "small": {"liver": "0000", "spleen": "0001"},
        "flat": {"mole": "0002", "hair": "0003"},
    }


PACS = """
sources:
  - dataset: pacs
    kind: dicomweb
    modality: ct_00
    root: https://pacs.example/dicom-web
    images: Modality=CT
    labels: Modality=SEG&SeriesDescription=checked
    patient: header
    classes: {liver: liver}
"""


def test_a_pacs(tmp_path: Path) -> None:
    (source,) = parsed(tmp_path, PACS)
    assert source.root == "https://pacs.example/dicom-web"
    assert (source.versions, source.names) == ("newest", "hash")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("https://pacs.example", "ftp://pacs.example", "root of a PACS"),
        ("https://pacs.example", "https://me:secret@pacs.example", "netrc"),
        ("Modality=CT", "CT", "question 'CT'"),
        ("Modality=CT", "Modalty=CT", "question 'Modalty=CT'"),
        ("    labels: Modality=SEG&SeriesDescription=checked\n", "", "question ''"),
        ("    patient: header\n", "", "patient ''"),
        ("patient: header", "patient: header\n    versions: some", "versions 'some'"),
    ],
)
def test_a_pacs_described_wrongly(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(OptionError) as error:
        parsed(tmp_path, PACS.replace(old, new))
    assert expected in error.value.message and "secret" not in error.value.message


def test_a_class_has_one_id_in_all_data_sets(tmp_path: Path) -> None:
    sources = parsed(tmp_path, DESCRIPTION.replace("hair: hair", "hair: liver"))
    assert class_ids(sources)["flat"] == {"mole": "0002", "liver": "0000"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kind: volume", "kind: video", "kind 'video'"),
        ("kind: volume", "kinds: volume", "unknown keys"),
        ("    modality: mr_t1\n", "", "modality"),
        ("mr_t1", "mr_t9", "mr_t9"),
        ("dataset: small", "dataset: a--b", "a--b"),
        ("dataset: small", "dataset: flat", "each name once"),
        ("names: keep", "names: Keep", "names 'Keep'"),
        ("names: keep", "names: 3", "another type"),
        ("names: keep", "axes: xx", "axes 'xx'"),
        ("names: keep", "axes: w", "axes 'w'"),
        ("names: keep", "patient: header", "header"),
        ("^(p[0-9]+)_", "^(p[0-9]+_", "regular expression"),
        ("^(p[0-9]+)_", "^p[0-9]+_", "one group"),
        ("{case}_image.nii.gz", "a_image.nii.gz", "{case}"),
        ("{case}_label.nii.gz", "a_label.nii.gz", "{case}"),
        ("{1: liver, 2: spleen, 7: null}", "{}", "no classes"),
        ("{1: liver, 2: spleen, 7: null}", "{1: 2}", "class 2"),
        ("{1: liver, 2: spleen, 7: null}", "liver", "classes"),
        ("sources:", "sauces:", "sources"),
        ("sources:", "sources: [", "cannot be read"),
        (DESCRIPTION, "sources: []", "list"),
        (DESCRIPTION, "sources: [3]", "source 3"),
        (DESCRIPTION, "!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_wrong_ones(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in DESCRIPTION
    with pytest.raises(OptionError) as caught:
        parsed(tmp_path, DESCRIPTION.replace(old, new, 1))
    assert expected in caught.value.message
