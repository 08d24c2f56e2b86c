from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from lib.data.anatomy import PhantomVolume
from lib.data.ct_series import save_ct_series, stable_uid
from lib.errors import OptionError


@pytest.fixture
def volume() -> PhantomVolume:
    array = np.random.default_rng(0).integers(-1024, 3072, (9, 7, 4)).astype(np.int16)
    labels = np.zeros(array.shape, np.uint8)
    return PhantomVolume(array, labels, {1: "liver"}, (0.75, 1.25, 3.5), "CT")


def test_simpleitk_reads_the_same_voxels_and_geometry(
    volume: PhantomVolume, tmp_path: Path
) -> None:
    save_ct_series(tmp_path, volume, "Phantom^Test", "T-1")

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()

    assert np.array_equal(SimpleITK.GetArrayFromImage(image).T, volume.array)
    assert np.allclose(image.GetSpacing(), volume.spacing)
    assert np.allclose(image.GetDirection(), np.eye(3).ravel())
    assert np.allclose(image.GetOrigin(), volume.affine[:3, 3] * (-1, -1, 1))


def test_identifiers_are_unique_where_they_must_be(volume: PhantomVolume, tmp_path: Path) -> None:
    save_ct_series(tmp_path, volume, "Phantom^Test", "T-1")
    files = [pydicom.dcmread(f) for f in sorted(tmp_path.iterdir())]

    assert len({f.SOPInstanceUID for f in files}) == 4
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({f[name].value for f in files}) == 1
    uids = {files[0][n].value for n in ("StudyInstanceUID", "SeriesInstanceUID")}
    uids |= {files[0].FrameOfReferenceUID, files[0].SOPInstanceUID}
    assert len(uids) == 4
    assert all(uid.startswith("2.25.") and len(uid) <= 64 and uid.is_valid for uid in uids)
    assert all(f.file_meta.MediaStorageSOPInstanceUID == f.SOPInstanceUID for f in files)


def test_other_voxels_give_another_series(volume: PhantomVolume, tmp_path: Path) -> None:
    other = replace(volume, array=volume.array[::-1].copy())
    series = []
    for name, each in (("a", volume), ("b", other), ("c", volume)):
        (tmp_path / name).mkdir()
        save_ct_series(tmp_path / name, each, "Phantom^Test", "T-1")
        series.append(pydicom.dcmread(tmp_path / name / "ct_001.dcm").SeriesInstanceUID)

    assert series[0] == series[2] != series[1]


def test_uids_depend_on_the_text_alone() -> None:
    assert stable_uid("a") == stable_uid("a") != stable_uid("b")


@pytest.mark.parametrize("change", ["modality", "too high", "too low"])
def test_what_is_no_12_bit_ct_is_refused(
    volume: PhantomVolume, tmp_path: Path, change: str
) -> None:
    array = volume.array.copy()
    array[0, 0, 0] = {"modality": 0, "too high": 3072, "too low": -1025}[change]
    bad = replace(volume, array=array, modality="MR" if change == "modality" else "CT")

    with pytest.raises(OptionError, match="3071"):
        save_ct_series(tmp_path, bad, "Phantom^Test", "T-1")

    assert list(tmp_path.iterdir()) == []
