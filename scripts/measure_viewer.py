"""Measure how long a click takes in the viewer: from releasing the mouse to the drawn mask.

Opens a study of a running server in a browser without a window, clicks at random places of some
slices, and compares with what the server says of its own share. Nothing is saved.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts._key import key_cookies

EPILOG = """\
Needs the package playwright and a Chromium. A server with keys gets the one in the environment
variable SAMED2D_KEY. The first click of each slice waits until that slice is
encoded, unless the server has done so ahead; it is counted like the others.

exit codes:
  0    measured
  2    wrong use of this command
  3    no browser, no server, or no such study

example:
  python scripts/measure_viewer.py --study 1.2.826.0.1.3680043.8.498.1 --clicks 30
"""
UNREACHABLE = 3
READY = "() => window.samed2d?.session && samed2d.queue.length === 0"
WATCH = """() => {
  const session = window.samed2d.session;
  window.drawnAfter = [];
  let [released, steps] = [0, session.history.done.length];
  // On the window: the panel lets no listener of the document behind it have the event.
  window.addEventListener('mouseup', () => { released = performance.now(); }, true);
  session.addEventListener('change', () => {
    if (session.history.done.length > steps) {
      steps = session.history.done.length;
      const drawn = () => window.drawnAfter.push(
        [performance.now() - released, 1000 * session.facts.latencies.total]);
      const event = window.cornerstone.Enums.Events.IMAGE_RENDERED;
      if (session.history.done.at(-1).slices.length) {
        document.addEventListener(event, drawn, { capture: true, once: true });
      } else {
        drawn(); // the mask is as it was
      }
    }
  });
}"""
SHOW = """share => {
  const { viewportGridService, cornerstoneViewportService } = window.services;
  const viewport = cornerstoneViewportService.getCornerstoneViewport(
    viewportGridService.getActiveViewportId());
  const frame = viewport.canvas.getBoundingClientRect();
  return viewport.setImageIdIndex(Math.floor(share * viewport.getImageIds().length))
    .then(() => [frame.x, frame.y, frame.width, frame.height]);
}"""


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("--study", required=True, metavar="UID", help="StudyInstanceUID")
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--on-each-slice", type=int, default=3, help="clicks before the next slice")
    parser.add_argument("--seed", type=int, default=0, help="of places and slices")
    parser.add_argument("--chromium", default=shutil.which("chromium"), metavar="PATH")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all times as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.clicks < 1 or chosen.on_each_slice < 1:
        parser.error("--clicks and --on-each-slice are 1 or more")
    return chosen


def measure(page: Any, chosen: argparse.Namespace) -> list[tuple[float, float]]:
    """Click; (from mouse-up to the drawn mask, the server's own time) of each click, ms."""
    rng = np.random.default_rng(chosen.seed)
    page.goto(f"{chosen.server}/samed2d/annotate?StudyInstanceUIDs={chosen.study}")
    page.wait_for_function(READY)
    page.evaluate(WATCH)
    frame = (0.0, 0.0, 0.0, 0.0)
    for click in tqdm(range(chosen.clicks), unit="click", disable=None):
        if click % chosen.on_each_slice == 0:
            frame = page.evaluate(SHOW, float(rng.uniform(0.2, 0.8)))
        x, y, width, height = frame
        across, down = rng.uniform(0.3, 0.7, 2)
        page.mouse.click(x + across * width, y + down * height)
        page.wait_for_function(f"() => window.drawnAfter.length > {click}")
    return [(drawn, server) for drawn, server in page.evaluate("window.drawnAfter")]


def report(times: Sequence[tuple[float, float]]) -> str:
    """Percentiles as a table."""
    drawn, server = np.array(times).T
    rows = [f"{'ms, ' + str(len(times)) + ' clicks':24} {'p50':>7} {'p95':>7}"]
    for name, values in (("mouse-up to drawn mask", drawn), ("of it the server", server)):
        p50, p95 = np.percentile(values, (50, 95))
        rows.append(f"{name:24} {p50:7.0f} {p95:7.0f}")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_arguments(arguments)
    try:
        # Only who measures needs it, so the server's requirements do not have it.
        browsers = importlib.import_module("playwright.sync_api")
    except ImportError:
        print("The package playwright is missing. Install it with pip.", file=sys.stderr)
        return UNREACHABLE
    try:
        with browsers.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chosen.chromium,
                args=["--no-sandbox", "--use-gl=angle", "--enable-unsafe-swiftshader"],
            )
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.context.add_cookies(key_cookies(chosen.server))
            page.set_default_timeout(120_000)
            times = measure(page, chosen)
    except browsers.Error as error:
        print(f"Not measured: {error.message.splitlines()[0]}", file=sys.stderr)
        return UNREACHABLE
    print(report(times))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps([{"drawn": d, "server": s} for d, s in times], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
