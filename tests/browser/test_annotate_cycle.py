"""Save, reload, lose the connection, go on to the next image, let the model learn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Dialog, Route, expect

from tests.browser.annotate import MILLISECONDS, AnnotateViewer, Series
from tests.browser.pictures import Pictures
from tests.support.ball_series import CENTRE, write_ball_series
from tests.support.browser import open_page
from tests.support.dicom_series import axial
from tests.support.organs import CT_SERIES, organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc, start_orthanc
from tests.support.server import RunningServer, start_server
from tests.support.stored_seg import masks_by_name, newest_seg

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("viewer_build"),
]

QUICK = {"max_epochs": 2, "epoch_steps": 2, "train": "decoder", "publish": "force"}
"""A training that ends soon and publishes whatever it learned."""
AWAY = re.compile(r"/infer/")


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[RunningOrthanc]:
    (tmp_path / "orthanc").mkdir()
    with start_orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    conf = {"labels": "liver,spleen", "encode_ahead": "off"}
    with start_server(pacs.dicom_web, conf=conf) as running:
        yield running


def test_saved_labels_are_in_the_pacs_and_come_back(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path
) -> None:
    study, series = pacs.stow(CT_SERIES), Series.of(CT_SERIES)
    liver, spleen = (organ_click(organ_mask(name)) for name in ("liver", "spleen"))
    with open_page(tmp_path / "browser") as page:
        viewer = AnnotateViewer(page, server.url, series)
        viewer.open_study(study)
        expect(viewer.button("save")).to_be_disabled()
        viewer.show(liver[2])
        viewer.click(liver)
        viewer.choose_label("spleen")
        viewer.show(spleen[2])
        viewer.click(spleen)
        drawn = viewer.painted()
        viewer.press("save")
        viewer.expect_message("Saved. The label is in the PACS", "good")
        expect(viewer.button("save")).to_be_disabled()

        masks = masks_by_name(newest_seg(pacs), series.instances, series.shape)
        assert set(masks) == {"liver", "spleen"}
        np.testing.assert_array_equal(masks["liver"], drawn == 1)
        np.testing.assert_array_equal(masks["spleen"], drawn == 2)

        page.reload(timeout=MILLISECONDS)  # asks nothing: everything is saved
        viewer.wait_until_ready()
        viewer.expect_message("saved label of this image", "good")
        np.testing.assert_array_equal(viewer.painted(), drawn)
        # What was saved is where a click starts from, and can be cleared.
        viewer.show(liver[2])
        viewer.press("clear-label")
        np.testing.assert_array_equal(viewer.painted(), np.where(drawn == 1, 0, drawn))
        viewer.press("undo")
        np.testing.assert_array_equal(viewer.painted(), drawn)
        assert not viewer.errors


def test_unsaved_work_outlives_a_reload_and_a_lost_connection(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path
) -> None:
    study, series = pacs.stow(CT_SERIES), Series.of(CT_SERIES)
    i, j, k = organ_click(organ_mask("liver"))
    dialogs: list[str] = []

    def leave(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    with open_page(tmp_path / "browser") as page:
        page.on("dialog", leave)
        viewer = AnnotateViewer(page, server.url, series)
        viewer.open_study(study)
        viewer.show(k)
        viewer.click((i, j, k))
        first = viewer.painted()
        viewer.click((i + 8, j, k))
        drawn = viewer.painted()
        page.reload(timeout=MILLISECONDS)
        assert dialogs == ["beforeunload"]
        viewer.wait_until_ready()
        viewer.expect_message("unsaved work on this image is here again", "good")
        np.testing.assert_array_equal(viewer.painted(), drawn)
        viewer.show(k)
        viewer.press("undo")
        np.testing.assert_array_equal(viewer.painted(), first)

        # Two clicks while the server is away: both wait, both are answered.
        def drop(route: Route) -> None:
            route.abort("connectionfailed")

        page.context.route(AWAY, drop)
        for x in (8, 16):
            page.mouse.click(*viewer.to_screen((i + x, j, k)))
        viewer.expect_message("The server does not answer", "lost")
        expect(page.locator(".samed2d-pending").first).to_be_attached()
        np.testing.assert_array_equal(viewer.painted(), first)
        page.context.unroute(AWAY, drop)
        viewer.wait_until_idle()
        viewer.expect_message("The server answers again", "good")
        assert page.evaluate("samed2d.session.history.done.length") == 3
        viewer.press("undo")
        np.testing.assert_array_equal(viewer.painted(), drawn)

        # What the server refuses is said in its words, and costs nothing else.
        refusal = {"detail": "Got: a test. Allowed: nothing. What to do: go on."}
        page.context.route(
            AWAY, lambda route: route.fulfill(status=422, body=json.dumps(refusal)), times=1
        )
        page.mouse.click(*viewer.to_screen((i + 20, j, k)))
        viewer.expect_message(refusal["detail"], "error")
        np.testing.assert_array_equal(viewer.painted(), drawn)


def test_the_next_image_and_a_new_version(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path
) -> None:
    study, series = pacs.stow(CT_SERIES), Series.of(CT_SERIES)
    other = write_ball_series(tmp_path / "other", axial(), numbered_upward=True)
    liver, pictures = organ_click(organ_mask("liver")), Pictures("annotate")
    with open_page(tmp_path / "browser") as page:
        viewer = AnnotateViewer(page, server.url, series)
        viewer.open_study(study)
        viewer.show(liver[2])
        viewer.click(liver)
        pictures.take(page, "click")
        viewer.press("next")
        viewer.expect_message("unsaved work: save it first", "error")
        viewer.press("save")
        viewer.expect_message("Saved", "good")
        pictures.take(page, "saved")

        other_study = pacs.stow(other)
        page.wait_for_timeout(1500)  # the server lists the PACS at most once a second
        viewer.press_and_leave("next", other_study)
        viewer.series = Series.of(other)
        viewer.wait_until_ready()
        viewer.expect_message("Chosen by", "good")
        pictures.take(page, "next")
        viewer.show(CENTRE[2])
        before = viewer.click(CENTRE)
        viewer.press("save")
        viewer.expect_message("Saved. The label is in the PACS", "good")

        page.route("**/train/samed2d", lambda route: route.continue_(post_data=json.dumps(QUICK)))
        viewer.button("train").click()
        bar = page.locator(".samed2d-panel progress:visible")
        expect(bar).to_be_visible(timeout=MILLISECONDS)
        pictures.take(page, "training")
        new_version = "A new version answers from now on: v0001"
        viewer.expect_message(new_version, "good", timeout=4 * MILLISECONDS)
        expect(viewer.button("train")).to_be_enabled(timeout=MILLISECONDS)
        after = viewer.click((CENTRE[0] + 3, CENTRE[1], CENTRE[2]))
        assert after.facts["model_version"] != before.facts["model_version"]
        pictures.take(page, "new-version")
        pictures.film()

        viewer.button("roll-back").click()
        viewer.expect_message("From now on base answers", "good")
        expect(viewer.button("roll-back")).to_be_hidden()
        assert not viewer.errors
