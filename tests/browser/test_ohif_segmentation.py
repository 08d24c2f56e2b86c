"""A DICOM SEG of our writer, opened from the PACS by OHIF's Segmentation mode in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.uid import generate_uid

from lib.imaging.dicom import read_series
from lib.imaging.dicom_header import read_planes
from lib.imaging.dicom_order import stack_planes
from lib.imaging.grid import ReadLimits
from lib.imaging.seg_writer import SegFacts, SegSegment, write_seg
from tests.browser.ohif_segmentation import SegmentationViewer
from tests.support.browser import open_page
from tests.support.dicom_series import oblique, write_series
from tests.support.organs import CT_SERIES, organ_mask
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import RunningServer, start_server

pytestmark = pytest.mark.browser

SEGMENTS = (
    SegSegment(7, "spleen", "SEMIAUTOMATIC"),
    SegSegment(2, "left kidney", "MANUAL"),
)
NAMES = {1: "left kidney", 2: "spleen"}
DESCRIPTION = "written by a test"


@dataclass(frozen=True)
class Drawn:
    """A label map that lies in the PACS.

    Attributes:
        numbers: (I, J, K), segment numbers.
        instances: SOPInstanceUIDs of the images along k.
        study: StudyInstanceUID.
        series: SeriesInstanceUID of the SEG.
    """

    numbers: npt.NDArray[np.uint8]
    instances: list[str]
    study: str
    series: str


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrthanc]:
    with start_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    """Our server on that PACS; it also serves OHIF."""
    with start_server(pacs.dicom_web) as running:
        yield running


def organs() -> npt.NDArray[np.uint8]:
    """Two organs of the sample CT; values 7 and 2."""
    return 7 * organ_mask("spleen").astype(np.uint8) + 2 * organ_mask("left kidney")


def blocks() -> npt.NDArray[np.uint8]:
    """On a small grid, with slices that carry nothing."""
    labels = np.zeros((26, 18, 6), np.uint8)
    labels[2:9, 3:6, [0, 2, 5]] = 7
    labels[10:25, 1:17, 2:4] = 2
    return labels


def store(pacs: RunningOrthanc, folder: Path, labels: npt.NDArray[np.uint8], part: Path) -> Drawn:
    """Put a series and a SEG of it into the PACS; slice 1 counts as looked at."""
    files = list(folder.iterdir())
    facts = SegFacts(
        generate_uid(), generate_uid(), datetime.now(), DESCRIPTION, reviewed=frozenset({1})
    )
    affine = read_series(folder).affine
    part.mkdir()
    write_seg(part / "seg.dcm", labels, affine, SEGMENTS, files, facts)
    study = pacs.stow(folder)
    assert pacs.stow(part) == study
    planes = stack_planes(read_planes(files, ReadLimits())[0]).planes
    numbers = np.select([labels == 2, labels == 7], [1, 2]).astype(np.uint8)
    return Drawn(numbers, [plane.sop_uid for plane in planes], study, facts.series_uid)


@pytest.mark.parametrize("kind", ["sample CT", "oblique series"])
def test_ohif_shows_names_and_voxels_of_a_stored_segmentation(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path, kind: str
) -> None:
    folder, labels = CT_SERIES, organs()
    if kind == "oblique series":
        folder, labels = tmp_path / "series", blocks()
        folder.mkdir()
        write_series(folder, oblique())
    drawn = store(pacs, folder, labels, tmp_path / "seg")
    with open_page(tmp_path / "browser") as page:
        viewer = SegmentationViewer(page, server.url)
        viewer.open_study(drawn.study)
        viewer.open_segmentation(DESCRIPTION, drawn.series)
        viewer.expect_listed(list(NAMES.values()))
        assert viewer.names(drawn.series) == NAMES
        shown = viewer.voxels(drawn.series, drawn.instances, drawn.numbers.shape)
        np.testing.assert_array_equal(shown, drawn.numbers)
        assert not viewer.errors
