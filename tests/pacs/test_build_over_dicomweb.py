"""A data set built from a real PACS is the one built from the same files in folders."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lib.imaging.volume import read_volume
from scripts.build_dataset import main
from tests.data.builder.test_rtstruct import write as write_contours
from tests.support.archives import tree
from tests.support.dicom_files import mr_array, write_mr_series, write_seg
from tests.support.orthanc import start_orthanc

pytestmark = pytest.mark.pacs

DESCRIPTION = """
sources:
{sources}
"""
SOURCE = """
  - dataset: {name}
    modality: mr_t1
    patient: header
    classes: {{organ: liver, outline: liver}}
    kind: {kind}
    root: {root}
    images: {images}
    labels: {labels}
"""
KINDS = {"d": "SEG", "e": "RTSTRUCT"}
SQUARE = [(10.3, 12.4), (25.3, 12.4), (25.3, 40.4), (10.3, 40.4)]


def outlines(path: Path, folder: Path) -> None:
    """An RTSTRUCT with one structure for a series."""
    volume = read_volume(folder)
    write_contours(path, volume.affine, {"outline": [(SQUARE, k) for k in (2, 3, 4)]})
    image = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
    data = pydicom.dcmread(path)
    data.StudyInstanceUID, data.SeriesInstanceUID = image.StudyInstanceUID, generate_uid()
    data.PatientID, data.PatientName, data.Modality = image.PatientID, image.PatientName, "RTSTRUCT"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = image.SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.save_as(path)


def archive(folder: Path) -> None:
    """A series with a SEG in d/, one with an RTSTRUCT in e/, one without a label in f/."""
    for number, name in enumerate("def"):
        new = folder / "new"
        new.mkdir(parents=True)
        uid = write_mr_series(new, mr_array(number), jpeg_2000=name == "e")
        for file in new.iterdir():
            data = pydicom.dcmread(file)
            data.PatientID = f"patient {number}"
            data.save_as(file)
        (folder / name / "series").mkdir(parents=True)
        new.rename(folder / name / "series" / uid)
    for name, write in (("d", write_seg), ("e", outlines)):
        (series,) = (folder / name / "series").iterdir()
        write(folder / name / f"{series.name}.dcm", series)


def build(folder: Path, name: str, *sources: str) -> tuple[int, Path]:
    """Run the command; returns its exit code and the data set."""
    path, salt, out = (folder / f"{name}{ending}" for ending in (".yaml", ".salt", ""))
    path.write_text(DESCRIPTION.format(sources="".join(sources)))
    salt.write_text("0123456789abcdef\n")
    options = ["--in", str(path), "--out", str(out), "--salt-file", str(salt), "--quiet"]
    return main(options), out


def test_the_same_as_from_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive(tmp_path / "files")
    (tmp_path / "orthanc").mkdir()
    with start_orthanc(tmp_path / "orthanc") as pacs:
        for study in "def":
            pacs.stow(tmp_path / "files" / study)
        sources = [
            SOURCE.format(
                name=name,
                kind="dicomweb",
                root=pacs.dicom_web,
                images="Modality=MR",
                labels=f"Modality={kind}",
            )
            for name, kind in KINDS.items()
        ]
        code, out = build(tmp_path, "pacs", *sources)
        assert code == 0 and "2 cases, " in capsys.readouterr().out
        assert build(tmp_path, "pacs", *sources)[0] == 0
        assert "0 cases built, 2 had been before" in capsys.readouterr().out
    assert not (out / ".build" / "parts").exists()
    sources = [
        SOURCE.format(
            name=name,
            kind="dicom",
            root=tmp_path / "files" / name,
            images='"series/{case}"',
            labels='"{case}.dcm"',
        )
        for name in KINDS
    ]
    code, expected = build(tmp_path, "folders", *sources)
    assert code == 0, capsys.readouterr().err
    assert tree(out) == tree(expected)
    assert len(list((out / "masks").iterdir())) == 4
    uids = [path.name for path in (tmp_path / "files").glob("*/series/*")]
    assert len(uids) == 3
    assert not [name for name in tree(out) if any(uid in name for uid in uids)]
