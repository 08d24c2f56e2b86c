"""OHIF's MONAI Label mode as a person uses it: one method per step, waits on conditions only.

Steps go through the page (mouse, keyboard, buttons); what the viewer holds is read from its own
state with ``viewer.js``. Voxels are (i, j, k) = column, row, slice of the image volume.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Locator, Page, Response, expect

from tests.support.browser import TIMEOUT_SECONDS

VIEWER_SCRIPT = Path(__file__).with_name("viewer.js")
TINT = 20
"""A pixel whose colour channels differ by more is painted; CT itself is grey."""
SELECTED_ROW = re.compile("background-color: dark(blue|red)")

Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class Geometry:
    """The viewer's image volume: (I, J, K), mm, and the direction cosines of its axes."""

    dimensions: tuple[int, int, int]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


class OhifViewer:
    """One page of OHIF.

    Args:
        page: a fresh page.
        server_url: of MONAI Label, which also serves OHIF; without a slash at the end.
    """

    def __init__(self, page: Page, server_url: str) -> None:
        self.page = page
        self.server_url = server_url
        page.add_init_script(path=VIEWER_SCRIPT)

    def open_study_list(self) -> None:
        """Load the work list and put away its notice."""
        self.page.goto(f"{self.server_url}/ohif/")
        self.page.locator("[data-cy=confirm-and-hide-button]").click()

    def open_study(self, study_uid: str) -> None:
        """Unfold the study's row, press its "MONAI Label" button, wait for all slices."""
        row = self.page.locator(f'[data-cy="studyRow-{study_uid}"]')
        row.click(position={"x": 20, "y": 15})
        self.page.locator(f'[data-cy="mode-monai-label-{study_uid}"]').click()
        self.page.wait_for_url(f"**/ohif/monai-label?StudyInstanceUIDs={study_uid}*")
        self._wait_for("samed2dViewer.isLoaded()")

    def connect(self) -> None:
        """Type the server's address into the panel and press the button beside it."""
        self.page.locator("#monailabelServerURL").fill(f"{self.server_url}/")
        self.page.locator(".settingsTable button").click()
        self.page.get_by_text("Point Prompts").wait_for()
        self._wait_for("samed2dViewer.hasLabelmap()")

    def enlarge(self) -> None:
        """Show the axial view alone, by a double click on it."""
        panes = self.page.locator("[data-cy=viewport-pane]")
        panes.first.dblclick()
        expect(panes).to_have_count(1)

    def choose(self, model: str, label: str) -> None:
        """Open the point prompts, select the model, then the label's row."""
        self.page.get_by_text("Point Prompts").click()
        self.choose_model(model)
        self.choose_label(label)

    def choose_model(self, model: str) -> None:
        """Select another model; the points stay."""
        self._tab.locator("select").select_option(model)

    def choose_label(self, label: str) -> None:
        """Select a row of the table of organs; "background" is one of them."""
        row = self._tab.get_by_role("row", name=label, exact=True)
        row.click()
        expect(row).to_have_attribute("style", SELECTED_ROW)

    def show(self, voxel: Voxel) -> None:
        """Bring the voxel's slice on the screen."""
        self.page.evaluate("index => samed2dViewer.show(index)", list(voxel))

    def click(self, voxel: Voxel) -> None:
        """Set a point on the voxel with the mouse and wait until the viewer has it."""
        before = self.page.evaluate("samed2dViewer.points()")
        x, y = self.to_screen([voxel])[0]
        # The viewer cuts fractions of a pixel off.
        self.page.mouse.click(round(x), round(y))
        self._wait_for(f"samed2dViewer.points() === {before + 1}")

    def run(self, model: str) -> Response:
        """Press Run and wait for the server's answer."""
        with self.page.expect_response(lambda r: f"/infer/{model}" in r.url) as answer:
            self._tab.get_by_role("button", name="Run").click()
        return answer.value

    def geometry(self) -> Geometry:
        """The volume the viewer has built from the series."""
        found = self.page.evaluate("samed2dViewer.geometry()")
        return Geometry(**{name: tuple(values) for name, values in found.items()})

    def painted(self) -> npt.NDArray[np.uint8]:
        """The viewer's label map as (I, J, K)."""
        shape = self.geometry().dimensions
        flat = np.zeros(int(np.prod(shape)), np.uint8)
        for index, value in self.page.evaluate("samed2dViewer.painted()"):
            flat[index] = value
        return flat.reshape(shape, order="F")

    def to_screen(self, voxels: Sequence[Sequence[int]]) -> list[tuple[float, float]]:
        """Window positions of voxel centres, in CSS pixels."""
        found = self.page.evaluate(
            "indices => samed2dViewer.toScreen(indices)", [list(map(int, v)) for v in voxels]
        )
        return [(x, y) for x, y in found]

    def tinted(self, voxels: Sequence[Sequence[int]]) -> float:
        """Share of these voxels that are drawn in colour on the screen at this moment."""
        picture = np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))
        colours = np.array([picture[int(y), int(x)] for x, y in self.to_screen(voxels)], np.int16)
        return float((np.ptp(colours, axis=1) > TINT).mean())

    @property
    def _tab(self) -> Locator:
        return self.page.locator(".tab", has=self.page.get_by_text("Available Organ(s):")).first

    def _wait_for(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}", timeout=TIMEOUT_SECONDS * 1000)
