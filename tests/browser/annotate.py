"""The mode Annotate as a person uses it: one method per step, waits on conditions only.

Voxels are (i, j, k) of the server's grid. Where they lie in the patient, and in which image, is
calculated here from the DICOM files and not asked from the viewer.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Locator, Page, Response, expect
from requests_toolbelt import MultipartDecoder

from lib.imaging.affine import LPS_TO_RAS
from lib.imaging.dicom_header import read_planes
from lib.imaging.dicom_order import stack_planes
from lib.imaging.grid import ReadLimits
from tests.support.browser import TIMEOUT_SECONDS

SCRIPT = Path(__file__).with_name("annotate.js")
MILLISECONDS = 2 * TIMEOUT_SECONDS * 1000
"""Longest wait; two cores draw, encode and serve at the same time."""

Voxel = tuple[int, int, int]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Series:
    """Where the voxels of a DICOM series are.

    Attributes:
        instances: SOPInstanceUIDs along k.
        to_patient: (4, 4), voxel -> mm LPS.
        shape: (I, J, K).
    """

    instances: list[str]
    to_patient: npt.NDArray[np.float64]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, folder: Path) -> Series:
        stack = stack_planes(read_planes(list(folder.iterdir()), ReadLimits())[0])
        first = stack.planes[0]
        return cls(
            [plane.sop_uid for plane in stack.planes],
            LPS_TO_RAS @ stack.affine,
            (first.columns, first.rows, len(stack.planes)),
        )

    def place(self, i: float, j: float, k: float) -> list[float]:
        return [float(x) for x in (self.to_patient @ (i, j, k, 1))[:3]]


@dataclass(frozen=True)
class Answer:
    """What the server answered to a prompt: facts, and the mask as (I, J, K)."""

    facts: dict[str, Any]
    mask: Labels


class AnnotateViewer:
    """One page of OHIF in the mode Annotate.

    Args:
        page: a fresh page.
        server_url: without a slash at the end.
        series: that is opened.
    """

    def __init__(self, page: Page, server_url: str, series: Series) -> None:
        self.page, self.server_url, self.series = page, server_url, series
        self.errors: list[str] = []
        self.requested: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))
        page.add_init_script(path=SCRIPT)

    def open_study(self, study_uid: str) -> None:
        """Load a study by its address and wait until it can be annotated."""
        self.page.goto(
            f"{self.server_url}/samed2d/annotate?StudyInstanceUIDs={study_uid}",
            timeout=MILLISECONDS,
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.wait_for("annotateTests.isReady()")
        expect(self.page.locator("[data-action=prompt][aria-pressed=true]")).to_be_visible()

    def show(self, k: int) -> None:
        """Bring a slice on the screen."""
        self.page.evaluate("sop => annotateTests.show(sop)", self.series.instances[k])
        self.wait_for(f"annotateTests.shownImage() === '{self.series.instances[k]}'")

    def shown(self) -> int:
        """The slice on the screen."""
        return self.series.instances.index(self.page.evaluate("annotateTests.shownImage()"))

    def click(self, voxel: Voxel, *, background: bool = False) -> Answer:
        """Click on a voxel of the slice that is shown; the server's answer."""
        x, y = self.to_screen(voxel)

        def press() -> None:
            if background:
                self.page.keyboard.down("Shift")
            self.page.mouse.click(x, y)
            if background:
                self.page.keyboard.up("Shift")

        return self.answer_to(press)

    def drag_box(self, corner: Voxel, other: Voxel) -> Answer:
        """Draw a box between two voxels."""
        return self.answer_to(lambda: self.drag(corner, other))

    def drag(self, start: Voxel, end: Voxel) -> None:
        """Move the mouse with the left button down."""
        (x0, y0), (x1, y1) = self.to_screen(start), self.to_screen(end)
        self.page.mouse.move(x0, y0)
        self.page.mouse.down()
        self.page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=4)
        self.page.mouse.move(x1, y1, steps=4)
        self.page.mouse.up()

    def answer_to(self, act: Callable[[], None], model: str = "samed2d") -> Answer:
        """Do something that asks the server, and wait until the answer is drawn."""
        matches = re.compile(rf"/infer/{model}\?")
        with self.page.expect_response(matches, timeout=MILLISECONDS) as caught:
            act()
        answer = read_answer(caught.value)
        self.wait_until_idle()
        return answer

    def press(self, action: str) -> None:
        """Press a button of the panel."""
        self.button(action).click()
        self.wait_until_idle()

    def press_and_leave(self, action: str, study_uid: str) -> None:
        """Press a button that leads to another study."""
        address = re.compile(re.escape(f"StudyInstanceUIDs={study_uid}"))
        with self.page.expect_navigation(url=address, timeout=MILLISECONDS):
            self.button(action).click()

    def button(self, action: str) -> Locator:
        return self.page.locator(f".samed2d-panel [data-action={action}]")

    def choose_label(self, name: str) -> None:
        row = self.page.locator(f'.samed2d-panel [data-label="{name}"]')
        row.click()
        expect(row).to_have_attribute("aria-pressed", "true")

    def add_label(self, name: str) -> None:
        self.page.get_by_placeholder("another label").fill(name)
        self.page.get_by_role("button", name="Add", exact=True).click()
        row = self.page.locator(f'.samed2d-panel [data-label="{name}"]')
        expect(row).to_have_attribute("aria-pressed", "true")

    def message(self) -> str:
        return self.page.locator(".samed2d-message").inner_text()

    def expect_message(
        self, text: str | re.Pattern[str], state: str | None = None, timeout: int = MILLISECONDS
    ) -> None:
        found = self.page.locator(".samed2d-message")
        expect(found).to_contain_text(text, timeout=timeout)
        if state is not None:
            expect(found).to_have_attribute("data-state", state)

    def painted(self) -> Labels:
        """The viewer's label map as (I, J, K), put together by the names of the images."""
        columns, rows, count = self.series.shape
        labels = np.zeros((count, rows * columns), np.uint8)
        for sop, pixels in self.page.evaluate("annotateTests.painted()").items():
            for at, value in pixels:
                labels[self.series.instances.index(sop), at] = value
        return labels.reshape(count, rows, columns).transpose(2, 1, 0)

    def names(self) -> dict[int, str]:
        """Value -> name, as OHIF holds them."""
        found = self.page.evaluate("annotateTests.segmentNames()")
        return {int(value): str(name) for value, name in found.items()}

    def to_screen(self, voxel: Voxel) -> tuple[float, float]:
        """Where the centre of a voxel is in the window, in whole CSS pixels."""
        point = self.series.place(*voxel)
        ((x, y),) = self.page.evaluate("points => annotateTests.toScreen(points)", [point])
        return round(x), round(y)

    def picture(self) -> npt.NDArray[np.int16]:
        """What is on the screen, (height, width, 3)."""
        image = Image.open(io.BytesIO(self.page.screenshot(timeout=MILLISECONDS)))
        return np.asarray(image.convert("RGB"), np.int16)

    def wait_until_idle(self) -> None:
        self.wait_for("annotateTests.isIdle()")

    def wait_for(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}", timeout=MILLISECONDS)


def read_answer(response: Response) -> Answer:
    """Take the server's form apart."""
    assert response.status == 200, response.text()
    decoder = MultipartDecoder(response.body(), response.headers["content-type"])
    parts = {}
    for part in decoder.parts:
        name = re.search(rb'name="(\w+)"', part.headers[b"Content-Disposition"])
        assert name
        parts[name[1].decode()] = part.content
    with tempfile.NamedTemporaryFile(suffix=".nrrd") as file:
        Path(file.name).write_bytes(parts["image"])
        mask = nrrd.read(file.name)[0]
    return Answer(json.loads(parts["params"]), mask.astype(np.uint8))


def sent_params(response_or_request: Any) -> dict[str, Any]:
    """The JSON of a request to ``/infer``."""
    request = getattr(response_or_request, "request", response_or_request)
    body = request.post_data_buffer or b""
    found = re.search(rb'name="params"\r\n\r\n(.*?)\r\n--', body, re.DOTALL)
    assert found, body[:200]
    return dict(json.loads(found[1]))
