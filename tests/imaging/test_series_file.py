"""DICOM series as NIfTI files, when the disk does not take all of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK

from lib.errors import UnavailableError
from lib.imaging.grid import ReadLimits
from lib.imaging.series_file import write_series
from tests.support.dicom_series import axial
from tests.support.dicom_series import write_series as write_dicom


def test_a_file_written_in_part_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ITK says nothing when a disk is full, and later reads what there is without a word."""
    write, target = SimpleITK.WriteImage, tmp_path / "image.nii.gz"

    def cut(image: object, name: str) -> None:
        write(image, name)
        Path(name).write_bytes(Path(name).read_bytes()[:-20])

    series = tmp_path / "series"
    series.mkdir()
    write_dicom(series, axial())
    with monkeypatch.context() as patch:
        patch.setattr(SimpleITK, "WriteImage", cut)
        with pytest.raises(UnavailableError, match="no room"):
            write_series(series, target, ReadLimits())
    assert not target.exists()
    write_series(series, target, ReadLimits())
    assert SimpleITK.ReadImage(str(target)).GetSize() == (26, 18, 6)
