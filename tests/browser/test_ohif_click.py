"""The whole way of a click: OHIF in Chromium, MONAI Label with this app, Orthanc behind it.

``SAMED2D_SCREENSHOT=1`` also writes the README's picture to ``docs/images/ohif-click.png``.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nrrd
import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Request, Response
from scipy import ndimage

from tests.browser.ohif import OhifViewer, Voxel
from tests.support.browser import open_page
from tests.support.organs import Mask, organ_click, organ_mask
from tests.support.orthanc import RunningOrthanc
from tests.support.server import REPOSITORY, RunningServer, start_server

pytestmark = pytest.mark.browser

MODEL = "samed2d"
ORGAN = "liver"
OTHER_ORGAN = "stomach"
PICTURE = REPOSITORY / "docs" / "images" / "ohif-click.png"
PAINT_SECONDS = 30
SAMPLES = 150
"""Pixels that are looked at, inside the mask and outside of it."""


@pytest.fixture(scope="module")
def server(pacs: RunningOrthanc) -> Iterator[RunningServer]:
    """Our server on that PACS; it also serves OHIF."""
    with start_server(pacs.dicom_web) as running:
        yield running


def sent_params(request: Request) -> dict[str, object]:
    """The one form field that OHIF sends."""
    fields = re.findall(r'name="([^"]+)"\r\n\r\n(.*?)\r\n--', request.post_data or "", re.DOTALL)
    assert [name for name, _ in fields] == ["params"]
    return dict(json.loads(fields[0][1]))


def answered_mask(response: Response, folder: Path) -> npt.NDArray[np.uint8]:
    """The label map of the answer, (I, J, K)."""
    file = folder / "answer.nrrd"
    file.write_bytes(response.body())
    return nrrd.read(str(file))[0]


def some_voxels(mask: Mask, k: int, rng: np.random.Generator) -> list[Voxel]:
    """Voxels of slice k drawn from a mask (I, J)."""
    found = np.argwhere(mask)
    chosen = rng.choice(len(found), min(SAMPLES, len(found)), replace=False)
    return [(int(i), int(j), k) for i, j in found[chosen]]


def same_slice(shape: tuple[int, ...], k: int) -> Mask:
    """All voxels of slice k."""
    inside = np.zeros(shape, bool)
    inside[:, :, k] = True
    return inside


def wait_until(viewer: OhifViewer, condition: Callable[[], bool], otherwise: str) -> None:
    """The viewer takes an answer in, and draws it, some time after it has arrived."""
    deadline = time.monotonic() + PAINT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        viewer.page.wait_for_timeout(200)


def assert_painted(viewer: OhifViewer, response: Response, click: Voxel, folder: Path) -> Mask:
    """The viewer holds exactly the answered mask, on the clicked slice; returns it as (I, J)."""
    answer = answered_mask(response, folder) > 0
    wait_until(
        viewer, lambda: np.array_equal(viewer.painted() > 0, answer), "another mask than answered"
    )
    assert answer[click]
    assert np.flatnonzero(answer.any(axis=(0, 1))).tolist() == [click[2]]
    return answer[:, :, click[2]]


def assert_seen(viewer: OhifViewer, mask: Mask, k: int) -> None:
    """The mask is on the screen, in colour, and nothing else is."""
    rng = np.random.default_rng(0)
    inside = some_voxels(ndimage.binary_erosion(mask, iterations=2), k, rng)
    outside = some_voxels(~ndimage.binary_dilation(mask, iterations=6), k, rng)
    wait_until(viewer, lambda: viewer.tinted(inside) >= 0.95, "the mask is not drawn in colour")
    assert viewer.tinted(outside) <= 0.05


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks, 0 to 1."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_one_click_on_an_organ_is_painted_in_ohif(
    pacs: RunningOrthanc, server: RunningServer, tmp_path: Path
) -> None:
    (study,), (series,) = pacs.study_uids(), pacs.series_uids()
    organ = organ_mask(ORGAN)
    click = organ_click(organ)
    with open_page(tmp_path / "browser") as page:
        viewer = OhifViewer(page, server.url)
        viewer.open_study_list()
        viewer.open_study(study)
        viewer.connect()
        assert viewer.geometry().dimensions == organ.shape
        assert not viewer.painted().any()
        viewer.enlarge()
        viewer.choose(MODEL, ORGAN)
        viewer.show(click)
        viewer.click(click)
        response = viewer.run(MODEL)

        assert response.status == 200
        assert response.url.endswith(f"/infer/{MODEL}?image={series}&output=image")
        # Exactly this is what OHIF sends; the server's other tests send the same.
        assert sent_params(response.request) == {
            "foreground": [list(click)],
            "background": [],
            "result_extension": ".nrrd",
            "result_dtype": "uint8",
            "result_compress": False,
            "restore_label_idx": False,
        }
        mask = assert_painted(viewer, response, click, tmp_path)
        assert dice(mask, organ[:, :, click[2]]) >= 0.5
        assert_seen(viewer, mask, click[2])
        if os.environ.get("SAMED2D_SCREENSHOT"):
            page.screenshot(path=PICTURE)

        # Next to the organ, "not this": the second answer takes the place of the first.
        other = organ_click(organ_mask(OTHER_ORGAN) & same_slice(organ.shape, click[2]))
        viewer.choose_label("background")
        viewer.click(other)
        viewer.choose_label(ORGAN)
        response = viewer.run(MODEL)
        assert sent_params(response.request)["foreground"] == [list(click)]
        assert sent_params(response.request)["background"] == [list(other)]
        mask = assert_painted(viewer, response, click, tmp_path)
        assert not mask[other[:2]]
