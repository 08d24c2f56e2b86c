from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "make_sample_data.py"
SHIPPED = REPOSITORY / "sample-data"
VOLUMES = ("phantom_abdomen_ct", "phantom_brain_mr")
PARTS = ("studies/phantom_*", "labels/*", "dicom/*/*.dcm")


def _load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample_data", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = _load_script()


def _files(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for part in PARTS for f in folder.glob(part))


def _voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "sample"
    assert script.main(["--out", str(out), "--quiet"]) == 0
    return out


def test_the_same_seed_writes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, SCRIPT, "--out", tmp_path, "--quiet"], check=True, cwd="/")

    assert _files(tmp_path) == _files(made)
    for name in _files(made):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes(), name


def test_the_shipped_study_is_what_the_script_makes(made: Path) -> None:
    assert _files(SHIPPED) == _files(made)
    assert (SHIPPED / "labels/labels.json").read_text() == (made / "labels/labels.json").read_text()
    for name in VOLUMES:
        # Another processor may round a sum differently; a wrong seed or version differs widely.
        pairs = [(d / "studies", d / "labels") for d in (SHIPPED, made)]
        images, labels = (
            [_voxels(p[i] / f"{name}.nii.gz").astype(float) for p in pairs] for i in (0, 1)
        )
        assert np.abs(images[0] - images[1]).mean() < 0.05
        assert (labels[0] != labels[1]).mean() < 1e-4


def test_another_seed_makes_another_patient(made: Path, tmp_path: Path) -> None:
    script.write_study(tmp_path, seed=1, quiet=True)

    for name in VOLUMES:
        first, second = (_voxels(d / "labels" / f"{name}.nii.gz") for d in (made, tmp_path))
        assert (first != second).mean() > 0.01


def test_the_shipped_study_is_small() -> None:
    assert sum((SHIPPED / name).stat().st_size for name in _files(SHIPPED)) <= 5_000_000


def test_the_dicom_series_equals_the_nifti_file() -> None:
    reader = SimpleITK.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(SHIPPED / "dicom" / "phantom_ct"))
    reader.SetFileNames(names)
    series = reader.Execute()
    nifti = SimpleITK.ReadImage(str(SHIPPED / "studies" / "phantom_abdomen_ct.nii.gz"))

    assert np.array_equal(SimpleITK.GetArrayFromImage(series), SimpleITK.GetArrayFromImage(nifti))
    assert np.allclose(series.GetOrigin(), nifti.GetOrigin(), atol=1e-4)
    assert np.allclose(series.GetSpacing(), nifti.GetSpacing(), atol=1e-5)
    assert np.allclose(series.GetDirection(), nifti.GetDirection(), atol=1e-6)


def test_the_dicom_patient_is_plainly_fictional() -> None:
    for path in (SHIPPED / "dicom" / "phantom_ct").iterdir():
        data = pydicom.dcmread(path, stop_before_pixels=True)
        assert (data.PatientName, data.PatientID) == ("Phantom^Abdomen", "PHANTOM-CT-1")
        assert (data.Modality, data.BodyPartExamined) == ("CT", "ABDOMEN")
        assert data.PatientBirthDate == ""


def test_labels_fit_their_images_and_their_names() -> None:
    table = json.loads((SHIPPED / "labels" / "labels.json").read_text())

    assert set(table) == {*VOLUMES, "phantom_ultrasound"}
    for name in VOLUMES:
        image, labels = (nib.load(SHIPPED / d / f"{name}.nii.gz") for d in ("studies", "labels"))
        assert image.shape == labels.shape
        assert np.array_equal(image.affine, labels.affine)
        assert {int(v) for v in table[name]} == set(np.unique(np.asarray(labels.dataobj))) - {0}
    image, labels = (
        np.asarray(Image.open(SHIPPED / d / "phantom_ultrasound.png"))
        for d in ("studies", "labels")
    )
    assert image.shape == labels.shape
    assert {int(v) for v in table["phantom_ultrasound"]} == set(np.unique(labels)) - {0}


def test_a_stale_series_is_replaced(tmp_path: Path) -> None:
    stale = tmp_path / "dicom" / "phantom_ct" / "ct_999.dcm"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")

    script.write_study(tmp_path, seed=0, quiet=True)

    assert not stale.exists()


def test_progress_is_said_unless_quiet(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.main(["--out", str(made)])
    assert "5/5" in capsys.readouterr().out
    script.main(["--out", str(made), "--quiet"])
    assert capsys.readouterr().out == ""


def test_help_names_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        script.main(["--help"])

    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("--out", "--seed", "labels.json", "Exit status"))


def test_a_place_that_cannot_be_written_gives_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")

    assert script.main(["--out", str(tmp_path / "file"), "--quiet"]) == 1
    assert "file" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--seed", "x"], ["--colour"]])
def test_wrong_arguments_give_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        script.main(arguments)

    assert caught.value.code == 2
