"""A real browser for tests: Debian's Chromium, headless, with software OpenGL, loopback only.

```python
with open_page(tmp_path / "browser") as page:
    page.goto(server.url + "/ohif/")
```

Where the body raises, the folder keeps what a person needs to see why: ``failure.png``,
``console.log`` and ``trace.zip`` (open it with ``playwright show-trace``).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, Route, sync_playwright
from playwright.sync_api import Error as PlaywrightError

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",  # containers and CI run as root
    "--use-gl=angle",
    "--use-angle=swiftshader",  # OHIF draws with WebGL 2; there is no graphics card
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
LOOPBACK = ("127.0.0.1", "localhost")
VIEWPORT = (1400, 900)
TIMEOUT_SECONDS = 60
"""Longest wait for one condition; a busy core with software OpenGL is slow, not wrong."""


class BrowserMissingError(AssertionError):
    """Chromium is not installed."""


def _allow_loopback_only(route: Route) -> None:
    """Let ``data:``, ``blob:`` and loopback requests pass; drop the rest (OHIF's web fonts)."""
    parts = urlsplit(route.request.url)
    if parts.scheme in ("data", "blob") or parts.hostname in LOOPBACK:
        route.continue_()
    else:
        route.abort("blockedbyclient")


def _keep_evidence(context: BrowserContext, page: Page, folder: Path) -> None:
    """Store screenshot and trace; a browser that has died must not hide the first error."""
    with contextlib.suppress(PlaywrightError):
        page.screenshot(path=folder / "failure.png", timeout=10_000)
    with contextlib.suppress(PlaywrightError):
        context.tracing.stop(path=folder / "trace.zip")
    print(f"--- browser evidence: {folder} ---", file=sys.stderr)
    print((folder / "console.log").read_text()[-3000:], file=sys.stderr)


@contextlib.contextmanager
def open_page(folder: Path, viewport: tuple[int, int] = VIEWPORT) -> Iterator[Page]:
    """Open one page of a fresh browser; nothing it asks for leaves this machine.

    Args:
        folder: for the evidence; it is created.
        viewport: width and height in pixels.

    Raises:
        BrowserMissingError: Chromium is not installed.
    """
    if not CHROMIUM.exists():
        raise BrowserMissingError(
            f"not installed: {CHROMIUM}; run: apt-get install --no-install-recommends chromium"
        )
    folder.mkdir(parents=True, exist_ok=True)
    width, height = viewport
    with (folder / "console.log").open("w") as console, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(TIMEOUT_SECONDS * 1000)
        context.route("**/*", _allow_loopback_only)
        context.tracing.start(snapshots=True)
        page = context.new_page()

        def write(line: str) -> None:
            console.write(f"{line}\n")
            console.flush()

        page.on("console", lambda message: write(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: write(f"uncaught: {error}"))
        try:
            yield page
        except BaseException:
            _keep_evidence(context, page, folder)
            raise
        finally:
            browser.close()
