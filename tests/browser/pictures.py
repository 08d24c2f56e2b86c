"""Pictures of a test for the documentation, taken where ``SAMED2D_SCREENSHOT=1`` is set."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser.annotate import MILLISECONDS
from tests.support.server import REPOSITORY

FOLDER = REPOSITORY / "docs" / "images"
GIF_WIDTH = 700
SECONDS_EACH = 2.0


class Pictures:
    """A numbered sequence of pictures of one page, and a short film of them.

    Args:
        name: of the sequence.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._taken: list[Image.Image] = []

    def take(self, page: Page, what: str) -> None:
        """Keep what is on the screen."""
        if not os.environ.get("SAMED2D_SCREENSHOT"):
            return
        shown = Image.open(io.BytesIO(page.screenshot(timeout=MILLISECONDS))).convert("RGB")
        self._taken.append(shown)
        small = shown.quantize(128, dither=Image.Dither.NONE)
        small.save(self._path(f"{len(self._taken)}-{what}.png"), optimize=True)

    def film(self) -> None:
        """Write all of them as one GIF."""
        if not self._taken:
            return
        width, height = self._taken[0].size
        size = (GIF_WIDTH, round(height * GIF_WIDTH / width))
        frames = [shown.resize(size, Image.Resampling.LANCZOS) for shown in self._taken]
        frames = [frame.quantize(64, dither=Image.Dither.NONE) for frame in frames]
        first, *others = frames
        first.save(
            FOLDER / f"{self._name}.gif",
            save_all=True,
            append_images=others,
            duration=int(1000 * SECONDS_EACH),
            loop=0,
        )

    def _path(self, end: str) -> Path:
        return FOLDER / f"{self._name}-{end}"
