#!/usr/bin/env python3
"""Show what a data set in the format of SA-Med2D-20M holds: report.html, report.png, report.json.

Counts of images and masks by modality (on a log scale), part of the body, class, data set and axis,
of masks of an image, and of sizes of masks, for which every --every-th mask is opened.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

Example:
  dataset_report.py dataset --out report --every 10
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from tqdm import tqdm

from lib.data.body_regions import body_region
from lib.data.statistics import Statistics, count
from scripts._command import DONE, exit_code_of, positive, progress_on

MOST_CLASSES = 25


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="see above")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the report")
    add("--every", type=positive, default=1, metavar="N", help="masks to open; default: all")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(arguments)


def bars(axes: Axes, counts: Mapping[str, int], title: str) -> None:
    names = list(counts)[:MOST_CLASSES][::-1]
    axes.barh(names, [counts[name] for name in names], log=True, color="#4477aa")
    axes.set_title(title, fontsize=11)
    axes.tick_params(labelsize=7)
    # From below 1, so that lengths can be compared; names at powers of ten alone have room.
    axes.set_xlim(left=0.5)
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw(found: Statistics) -> bytes:
    figure = Figure(figsize=(16, 9), layout="constrained")
    places = figure.subplots(2, 4).ravel()
    counts = (
        (found.images, "images by modality"),
        (found.masks, "masks by modality"),
        (found.regions, "masks by part of the body"),
        (found.classes, f"masks by class (first {MOST_CLASSES})"),
        (found.datasets, "images by data set"),
        (found.axes, "images by axis of the slice"),
    )
    for axes, (counted, title) in zip(places, counts, strict=False):
        bars(axes, dict(counted.most_common()), title)
    numbers = sorted(found.masks_of_image)
    places[6].bar(numbers, [found.masks_of_image[n] for n in numbers], color="#4477aa")
    places[6].set_title("images by number of masks", fontsize=11)
    shares = np.maximum(found.shares, 1e-6)
    places[7].hist(shares, bins=np.geomspace(1e-3, 1, 40).tolist(), color="#4477aa")
    places[7].set_xscale("log")
    places[7].set_title("share of the image that a mask covers", fontsize=11)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def page(found: Statistics, picture: bytes, name: str) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(m)}</td><td>{found.images[m]}</td><td>{found.masks[m]}</td></tr>"
        for m, _ in found.images.most_common()
    )
    regions = "".join(
        f"<tr><td>{html.escape(r)}</td><td>{n}</td></tr>" for r, n in found.regions.most_common()
    )
    classes = "".join(
        f"<tr><td>{html.escape(c)}</td><td>{html.escape(body_region(c))}</td><td>{n}</td></tr>"
        for c, n in found.classes.most_common()
    )
    image = base64.b64encode(picture).decode()
    return f"""<!doctype html><meta charset="utf-8"><title>{html.escape(name)}</title>
<style>body{{font:15px sans-serif;margin:2em;max-width:75em}}
td,th{{padding:.1em 1em;text-align:left}} img{{max-width:100%}}</style><h1>{html.escape(name)}</h1>
<p>{sum(found.images.values())} images, {sum(found.masks.values())} masks, {found.cases} cases,
{found.patients} patients; {len(found.shares)} masks opened, {found.unreadable} unreadable.</p>
<img alt="Counts as bars" src="data:image/png;base64,{image}">
<table><tr><th>modality<th>images<th>masks</tr>{rows}</table>
<table><tr><th>part of the body<th>masks</tr>{regions}</table>
<table><tr><th>class<th>part of the body<th>masks</tr>{classes}</table>
"""


def carry_out(options: argparse.Namespace) -> int:
    with tqdm(unit="image", disable=options.quiet) as bar:
        found = count(options.folder, options.every, progress_on(bar))
    picture = draw(found)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.png").write_bytes(picture)
    text = json.dumps(found.as_json(), indent=1) + "\n"
    (options.out / "report.json").write_text(text, encoding="utf-8")
    name = options.folder.resolve().name
    (options.out / "report.html").write_text(page(found, picture, name), encoding="utf-8")
    print(f"{options.out / 'report.html'}")
    return DONE


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return exit_code_of(lambda: carry_out(options), "dataset_report")


if __name__ == "__main__":
    sys.exit(main())
