"""Prompts in the mode Annotate: what is drawn is what the server answered, in any geometry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.annotate import AnnotateViewer, Answer, Series, Voxel, sent_params
from tests.support.ball_series import CENTRE, ball, write_ball_series
from tests.support.browser import LOOPBACK, open_page
from tests.support.dicom_files import MR_SHAPE, mr_array, write_mr_series
from tests.support.dicom_series import axial, oblique
from tests.support.organs import CT_SERIES, organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import RunningServer, start_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("viewer_build"),
]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrthanc]:
    with start_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    with start_server(pacs.dicom_web, env={"SAMED2D_ENCODE_AHEAD": "off"}) as running:
        yield running


def assert_drawn(viewer: AnnotateViewer, answer: Answer, k: int, value: int = 1) -> None:
    """OHIF holds exactly the answered mask as one label, and it lies on one slice."""
    np.testing.assert_array_equal(viewer.painted() == value, answer.mask > 0)
    assert np.flatnonzero(answer.mask.any(axis=(0, 1))).tolist() == [k]


def write(kind: str, folder: Path) -> tuple[Path, Voxel, np.ndarray]:
    """A series, a voxel in the middle of a bright ball, and the ball."""
    if kind == "sagittal MR":
        folder.mkdir()
        write_mr_series(folder, mr_array())
        i, j, k = (size // 2 for size in MR_SHAPE)
        return folder, (i, j, k), mr_array() > 240
    affine = oblique() if kind == "oblique" else axial()
    write_ball_series(folder, affine, numbered_upward=kind != "axial, numbered downward")
    return folder, CENTRE, ball()


@pytest.mark.parametrize(
    "kind", ["axial, numbered upward", "axial, numbered downward", "sagittal MR", "oblique"]
)
def test_the_mask_drawn_is_the_mask_computed(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path, kind: str
) -> None:
    folder, voxel, target = write(kind, tmp_path / "series")
    study = pacs.stow(folder)
    with open_page(tmp_path / "browser") as page:
        viewer = AnnotateViewer(page, server.url, Series.of(folder))
        viewer.open_study(study)
        for k in (voxel[2], voxel[2] - 1):
            viewer.show(k)
            point = (*voxel[:2], k)
            with page.expect_request("**/infer/samed2d?*") as caught:
                answer = viewer.click(point)
            assert sent_params(caught.value)["foreground"] == [list(point)]
            assert answer.facts["slice"] == k
            assert answer.mask[point]
            assert_drawn(viewer, answer, k)
            viewer.press("undo")
            assert not viewer.painted().any()
        # The ball lies where the picture has it, not at the mirrored place.
        drawn = answer.mask[:, :, k] > 0
        inside = target[:, :, k]
        assert 2 * (drawn & inside).sum() > 0.5 * (drawn.sum() + inside.sum())
        assert not viewer.errors


def test_clicks_boxes_and_labels(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path
) -> None:
    study, series = pacs.stow(CT_SERIES), Series.of(CT_SERIES)
    i, j, k = click = organ_click(organ_mask("liver"))
    on_slice = np.zeros(series.shape, bool)
    on_slice[:, :, k] = True
    stomach = organ_click(organ_mask("stomach") & on_slice)
    with open_page(tmp_path / "browser") as page:
        viewer = AnnotateViewer(page, server.url, series)
        viewer.open_study(study)
        viewer.show(k)
        assert viewer.names()[1] == "liver"
        assert not viewer.painted().any()
        first = viewer.click(click)
        assert_drawn(viewer, first, k)

        # A second click, and one beside the organ, make the answer to all three.
        second = viewer.click((i + 6, j, k))
        assert_drawn(viewer, second, k)
        with page.expect_request("**/infer/samed2d?*") as caught:
            third = viewer.click(stomach, background=True)
        params = sent_params(caught.value)
        assert params["foreground"] == [list(click), [i + 6, j, k]]
        assert params["background"] == [list(stomach)]
        assert params["label"] == "liver"
        assert_drawn(viewer, third, k)
        assert not third.mask[stomach]

        # A box for a label of our own; the liver stays where the two do not meet.
        page.evaluate("annotateTests.rememberSegments()")
        viewer.add_label("gastric wall")
        page.evaluate("annotateTests.putBackSegments()")
        low, high = (stomach[0] - 22, stomach[1] - 20, k), (stomach[0] + 24, stomach[1] + 22, k)
        with page.expect_request("**/infer/samed2d?*") as caught:
            boxed = viewer.drag_box(low, high)
        assert sent_params(caught.value)["roi"] == [low[0], high[0], low[1], high[1], k, k]
        value = {name: number for number, name in viewer.names().items()}["gastric wall"]
        assert_drawn(viewer, boxed, k, value)
        expected = np.where(boxed.mask > 0, value, third.mask)
        np.testing.assert_array_equal(viewer.painted(), expected)
        assert boxed.mask.any()

        # A background click alone has nothing to be the background of.
        viewer.choose_label("spleen")
        page.keyboard.down("Shift")
        page.mouse.click(*viewer.to_screen(click))
        page.keyboard.up("Shift")
        viewer.expect_message("Click on the object first", "error")

        corner = page.locator(".samed2d-corner").first
        expect(corner).to_contain_text("on cpu")
        outside = [url for url in viewer.requested if not any(host in url for host in LOOPBACK)]
        assert not [url for url in outside if not url.startswith(("data:", "blob:"))]
        assert not viewer.errors
