"""Volume, uncertainty, preview and encoded slices in the mode Annotate."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.annotate import MILLISECONDS, AnnotateViewer, sent_params
from tests.support.organs import organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc
from tests.support.server import RunningServer, start_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("viewer_build"),
]

STRIP = """strip => {
  const { data } = strip.getContext('2d').getImageData(2, 0, 1, strip.height);
  const rows = new Set();
  for (let n = 0; n < data.length; n += 4) {
    if (data[n + 3]) {
      rows.add(data.slice(n, n + 3).join());
    }
  }
  return [strip.height, rows.size];
}"""
"""Height of the strip beside the scroll bar, and how many colours it has."""


@pytest.fixture(scope="module")
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    conf = {"labels": "liver,spleen", "volume_seconds": "120"}
    with start_server(pacs.dicom_web, conf=conf) as running:
        yield running


def test_a_label_goes_through_the_volume_and_is_corrected(viewer: AnnotateViewer) -> None:
    i, j, k = click = organ_click(organ_mask("spleen"))
    viewer.choose_label("spleen")
    viewer.show(k)
    viewer.click(click)
    with viewer.page.expect_request("**/infer/samed2d_volume?*") as caught:
        answer = viewer.answer_to(lambda: viewer.button("volume").click(), model="samed2d_volume")
    assert sent_params(caught.value)["foreground"] == [list(click)]
    np.testing.assert_array_equal(viewer.painted() == 2, answer.mask > 0)
    slices, confidence = answer.facts["slices"], answer.facts["confidence"]
    viewer.expect_message(re.compile(r"spleen on images \d+ to \d+, least sure on \d+"), "good")
    # One row for each slice, in colours of their own.
    strip = viewer.page.locator(".samed2d-strip")
    height, colours = strip.evaluate(STRIP)
    assert height > 20 * len(viewer.series.instances)
    assert colours >= min(len(set(confidence)), 3)

    viewer.press("doubtful")
    assert viewer.shown() == slices["first"] + int(np.argmin(confidence))
    viewer.press("doubtful")
    assert viewer.shown() == slices["first"] + int(np.argsort(confidence, kind="stable")[1])

    # A correction changes its slice alone, and is one of the clicks of the next volume.
    before = viewer.painted()
    near = int(np.clip(k + 1, slices["first"], slices["last"]))
    viewer.show(near)
    corrected = viewer.click((i + 2, j, near))
    expected = before.copy()
    expected[:, :, near] = 2 * corrected.mask[:, :, near]
    np.testing.assert_array_equal(viewer.painted(), expected)
    with viewer.page.expect_request("**/infer/samed2d_volume?*") as caught:
        viewer.answer_to(lambda: viewer.button("volume").click(), model="samed2d_volume")
    assert sorted(sent_params(caught.value)["foreground"]) == sorted([[*click], [i + 2, j, near]])
    for state in (expected, before):
        viewer.press("undo")
        np.testing.assert_array_equal(viewer.painted(), state)


def test_a_volume_shows_how_far_it_is_and_can_be_cancelled(viewer: AnnotateViewer) -> None:
    click = organ_click(organ_mask("liver"))
    viewer.show(click[2])
    viewer.click(click)
    drawn = viewer.painted()
    viewer.button("volume").click()
    bar = viewer.page.locator(".samed2d-panel progress").first
    expect(bar).to_be_visible()
    # Sent to the button wherever it is: a fast computer may be done by now.
    viewer.button("cancel-volume").dispatch_event("click")
    viewer.wait_until_idle()
    viewer.expect_message(re.compile("nothing was changed|liver on images"), "good")
    expect(bar).to_be_hidden()
    if "nothing was changed" in viewer.message():
        np.testing.assert_array_equal(viewer.painted(), drawn)


def test_doubt_preview_and_encoded_slices_are_shown(viewer: AnnotateViewer) -> None:
    i, j, k = click = organ_click(organ_mask("liver"))
    page = viewer.page
    viewer.show(k)
    viewer.click(click)
    drawn, without = viewer.painted(), viewer.picture()
    with page.expect_request("**/infer/samed2d?*") as caught:
        answer = viewer.answer_to(lambda: viewer.button("uncertainty").check())
    assert sent_params(caught.value)["uncertainty"] is True
    assert 0 <= answer.facts["uncertainty"] <= 1
    np.testing.assert_array_equal(viewer.painted(), drawn)
    assert (viewer.picture() != without).any()
    viewer.button("uncertainty").uncheck()

    with page.expect_response(re.compile(r"/infer/samed2d\?"), timeout=MILLISECONDS):
        viewer.button("preview").check()
        x, y = viewer.to_screen((i - 12, j, k))
        page.mouse.move(x - 3, y)
        page.mouse.move(x, y)
    viewer.wait_for("samed2d.overlay.preview !== null")
    np.testing.assert_array_equal(viewer.painted(), drawn)
    assert page.evaluate("samed2d.session.history.done.length") == 1
    viewer.button("preview").uncheck()
    assert page.evaluate("samed2d.overlay.preview") is None

    viewer.wait_for(f"samed2d.session.encoded.size === {viewer.series.shape[2]}")
    expect(page.locator(".samed2d-strip")).to_be_visible()
