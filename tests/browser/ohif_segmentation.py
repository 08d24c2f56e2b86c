"""OHIF's Segmentation mode as a person uses it to look at a stored DICOM SEG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, expect

from tests.browser.ohif import VIEWER_SCRIPT
from tests.support.browser import TIMEOUT_SECONDS


class SegmentationViewer:
    """One page of OHIF in its Segmentation mode.

    Args:
        page: a fresh page.
        server_url: of MONAI Label, which also serves OHIF; without a slash at the end.
    """

    def __init__(self, page: Page, server_url: str) -> None:
        self.page = page
        self.server_url = server_url
        self.errors: list[PlaywrightError] = []
        page.on("pageerror", lambda error: self.errors.append(error))
        page.add_init_script(path=VIEWER_SCRIPT)

    def open_study(self, study_uid: str) -> None:
        """Load a study by its address and put away the notice."""
        self.page.goto(f"{self.server_url}/ohif/segmentation?StudyInstanceUIDs={study_uid}")
        self.page.locator("[data-cy=confirm-and-hide-button]").click()

    def open_segmentation(self, description: str, series_uid: str) -> None:
        """Open a SEG from the list of series by a double click, and say yes to the question."""
        thumbnail = self.page.locator("[data-cy=study-browser-thumbnail-no-image]")
        thumbnail.filter(has_text=description).dblclick()
        self.page.get_by_text("Do you want to open this Segmentation?").wait_for()
        self.page.get_by_role("button", name="Yes").click()
        self.page.wait_for_function(
            "series => samed2dViewer.isOpened(series)",
            arg=series_uid,
            timeout=TIMEOUT_SECONDS * 1000,
        )

    def expect_listed(self, names: Sequence[str]) -> None:
        """The panel shows these segments."""
        for name in names:
            expect(self.page.get_by_text(name, exact=True)).to_be_visible()

    def names(self, series_uid: str) -> dict[int, str]:
        """Segment number -> name, as the viewer holds them."""
        found = self.page.evaluate("series => samed2dViewer.segmentNames(series)", series_uid)
        return {int(number): str(name) for number, name in found.items()}

    def voxels(
        self, series_uid: str, instances: Sequence[str], shape: tuple[int, int, int]
    ) -> npt.NDArray[np.uint8]:
        """The viewer's label map (I, J, K), whose slice k lies on the k-th of the instances."""
        found = self.page.evaluate("series => samed2dViewer.segmented(series)", series_uid)
        labels = np.zeros((shape[2], shape[1] * shape[0]), np.uint8)
        for uid, pixels in found.items():
            for index, value in pixels:
                labels[instances.index(uid), index] = value
        return labels.reshape(shape[::-1]).transpose(2, 1, 0)
