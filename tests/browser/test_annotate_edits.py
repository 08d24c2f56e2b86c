"""Undo, redo, brush, eraser, keys: whatever is drawn can be taken back, and is where the next click
starts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import requests
from playwright.sync_api import expect
from scipy import ndimage

from tests.browser.annotate import AnnotateViewer
from tests.support.organs import organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc
from tests.support.server import RunningServer, start_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("viewer_build"),
]


@pytest.fixture(scope="module")
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    with start_server(pacs.dicom_web, env={"SAMED2D_ENCODE_AHEAD": "off"}) as running:
        yield running


def free_place(mask: np.ndarray) -> tuple[int, int]:
    """A pixel (i, j) far from a mask and from the border."""
    free = np.pad(~mask[12:-12, 12:-12], 12)
    i, j = np.unravel_index(int(ndimage.distance_transform_edt(free).argmax()), mask.shape)
    return int(i), int(j)


def test_every_step_can_be_taken_back_and_done_again(viewer: AnnotateViewer) -> None:
    i, j, k = organ_click(organ_mask("liver"))
    viewer.show(k)
    states = [viewer.painted()]
    for step in range(4):
        viewer.click((i + 5 * step, j, k))
        states.append(viewer.painted())
    viewer.page.keyboard.press("Delete")
    viewer.wait_until_idle()
    states.append(viewer.painted())
    assert not states[-1].any()
    for state in reversed(states[:-1]):
        viewer.page.keyboard.press("Control+z")
        viewer.wait_until_idle()
        np.testing.assert_array_equal(viewer.painted(), state)
    expect(viewer.button("undo")).to_be_disabled()
    for state in states[1:]:
        viewer.press("redo")
        np.testing.assert_array_equal(viewer.painted(), state)
    expect(viewer.button("redo")).to_be_disabled()

    # After a step back the next click belongs to what is on the screen, not to what was.
    for _ in range(4):
        viewer.page.keyboard.press("Control+z")
    viewer.wait_until_idle()
    again = viewer.click((i + 5, j, k))
    np.testing.assert_array_equal(viewer.painted(), states[2])
    np.testing.assert_array_equal(again.mask, states[2])


def test_brush_and_eraser_change_the_mask_that_the_next_click_starts_from(
    viewer: AnnotateViewer, server: RunningServer
) -> None:
    i, j, k = click = organ_click(organ_mask("liver"))
    viewer.show(k)
    viewer.click(click)
    clicked = viewer.painted()

    viewer.page.keyboard.press("b")
    expect(viewer.button("brush")).to_have_attribute("aria-pressed", "true")
    beside = free_place(clicked[:, :, k] > 0)
    viewer.drag((*beside, k), (beside[0] + 6, beside[1], k))
    brushed = viewer.painted()
    assert brushed[(*beside, k)]
    assert not clicked[(*beside, k)]
    assert set(np.unique(brushed)) == {0, 1}
    viewer.page.keyboard.press("e")
    viewer.drag((i - 4, j, k), (i + 4, j, k))
    edited = viewer.painted()
    assert not edited[i, j, k]

    viewer.page.keyboard.press("c")
    more = (i + 10, j + 10, k)
    with viewer.page.expect_request("**/infer/samed2d?*"):
        answer = viewer.click(more)
    np.testing.assert_array_equal(viewer.painted(), answer.mask)
    # What any other client gets that sends this click with the edited mask.
    expected = requests.post(
        f"{server.url}/infer/samed2d",
        params={"image": viewer.page.evaluate("samed2d.session.image"), "output": "json"},
        files={
            "params": (None, f'{{"foreground": [{list(more)}], "label": "liver"}}'),
            "label": ("slice.bin", edited[:, :, k].tobytes("F")),
        },
        timeout=120,
    )
    assert expected.json()["iou"] == answer.facts["iou"]
    plain = requests.post(
        f"{server.url}/infer/samed2d",
        params={"image": viewer.page.evaluate("samed2d.session.image"), "output": "json"},
        files={"params": (None, f'{{"foreground": [{list(more)}], "label": "liver"}}')},
        timeout=120,
    )
    assert plain.json()["iou"] != answer.facts["iou"]

    for state in (edited, brushed, clicked):
        viewer.press("undo")
        np.testing.assert_array_equal(viewer.painted(), state)
