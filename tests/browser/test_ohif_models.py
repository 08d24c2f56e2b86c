"""OHIF's panel Point Prompts with the models that are not served unless somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.browser.ohif import OhifViewer
from tests.browser.test_ohif_click import (
    ORGAN,
    answered_mask,
    assert_painted,
    dice,
    wait_until,
)
from tests.support.browser import open_page
from tests.support.organs import organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc
from tests.support.server import RunningServer, start_server

pytestmark = pytest.mark.browser

OF_SLICES, OF_VOLUMES = "medsa", "sammed3d"


@pytest.fixture(scope="module")
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    """Both, with the weights that ship, on that PACS."""
    with start_server(pacs.dicom_web, conf={"models": f"{OF_SLICES},{OF_VOLUMES}"}) as running:
        yield running


def test_a_click_is_painted_on_its_slice_by_one_and_on_all_by_the_other(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path
) -> None:
    organ = organ_mask(ORGAN)
    click = organ_click(organ)
    with open_page(tmp_path / "browser") as page:
        viewer = OhifViewer(page, server.url)
        viewer.open_study_list()
        viewer.open_study(pacs.study_uids()[0])
        viewer.connect()
        viewer.enlarge()
        viewer.choose(OF_SLICES, ORGAN)
        viewer.show(click)
        viewer.click(click)
        mask = assert_painted(viewer, viewer.run(OF_SLICES), click, tmp_path)
        assert dice(mask, organ[:, :, click[2]]) > 0.5

        viewer.choose_model(OF_VOLUMES)
        viewer.choose_label(ORGAN)  # the table is drawn anew, without clicks
        viewer.click(click)
        response = viewer.run(OF_VOLUMES)
        assert response.status == 200
        answer = answered_mask(response, tmp_path) > 0
        assert len(np.flatnonzero(answer.any(axis=(0, 1)))) > 1
        wait_until(
            viewer,
            lambda: np.array_equal(viewer.painted() > 0, answer),
            "another mask than answered",
        )
