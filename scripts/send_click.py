#!/usr/bin/env python3
"""Send one click (or box) to a running server, as a viewer would, and say what came back.

Examples:
  send_click.py --image phantom_abdomen_ct --point 69,81,18
  send_click.py --server http://host:8000 --image 1.2.840.1 --point 160,230,9 --background 30,40,9
  send_click.py --image phantom_abdomen_ct --box 40,60,110,120 --slice 18 --out mask.nrrd
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
import SimpleITK as sitk
from requests_toolbelt import MultipartDecoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts._key import HELP as KEY_HELP
from scripts._key import key_auth

SOUND, FAILED, WRONG_ARGUMENTS, UNSOUND = 0, 1, 2, 3

Voxel = tuple[int, int, int]


class ClickError(Exception):
    """The server could not be reached, refused the click, or sent what is no answer."""


@dataclass(frozen=True)
class Answer:
    """What the server sent: the label map, its facts, and how long all of it took.

    Attributes:
        label: of the whole volume.
        facts: the answer's ``params``.
        seconds: from sending to having everything.
    """

    label: sitk.Image
    facts: Mapping[str, Any]
    seconds: float

    @property
    def mask(self) -> np.ndarray:
        """The label map as (I, J, K) of booleans."""
        return sitk.GetArrayViewFromImage(self.label).transpose(2, 1, 0) > 0


def _whole_numbers(text: str, count: int, example: str) -> tuple[int, ...]:
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or min(values) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: {count} whole numbers, such as {example}")
    return values


def voxel(text: str) -> Voxel:
    i, j, k = _whole_numbers(text, 3, "69,81,18")
    return i, j, k


def box(text: str) -> tuple[int, ...]:
    return _whole_numbers(text, 4, "40,60,110,120")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Voxels are indices i,j,k of the image: column, row, slice, from 0. "
        f"{KEY_HELP} "
        "Exit status: 0 the mask is sound; 1 no answer, or a refusal; 2 wrong arguments; "
        "3 the mask is empty, misses a click or lies on another slice.",
    )
    parser.add_argument(
        "--server", default="http://127.0.0.1:8000", help="address (default: %(default)s)"
    )
    parser.add_argument(
        "--image", required=True, help="id in the datastore; a SeriesInstanceUID with a PACS"
    )
    parser.add_argument("--model", default="samed2d", help="name (default: %(default)s)")
    parser.add_argument(
        "--point", type=voxel, action="append", default=[], help="i,j,k inside the object"
    )
    parser.add_argument(
        "--background", type=voxel, action="append", default=[], help="i,j,k outside of it"
    )
    parser.add_argument("--box", type=box, help="i0,j0,i1,j1 around the object")
    parser.add_argument("--slice", type=int, help="k; needed for a box without point")
    parser.add_argument("--intensity", help="how grey values are shown to the network")
    parser.add_argument("--out", type=Path, help="keep the label map, .nrrd")
    parser.add_argument("--truth", type=Path, help="label file to compare with (Dice)")
    parser.add_argument("--truth-value", type=int, help="its value for the object (default: any)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds (default: 300)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args(arguments)
    slices = {point[2] for point in options.point}
    if options.slice is None and len(slices) == 1:
        options.slice = slices.pop()
    if not options.point and options.box is None:
        parser.error("name at least one --point, or a --box")
    if options.slice is None:
        parser.error("name the --slice: there is a box alone, or points on several slices")
    if options.out is not None and options.out.suffix != ".nrrd":
        parser.error(f"--out {options.out}: the name must end in .nrrd")
    return options


def request_params(options: argparse.Namespace) -> dict[str, Any]:
    """The ``params`` of the request, in the words of 3D Slicer's module."""
    params: dict[str, Any] = {
        "foreground": [list(point) for point in options.point],
        "background": [list(point) for point in options.background],
        "slice": options.slice,
        "result_extension": ".nrrd",
    }
    if options.box is not None:
        i0, j0, i1, j1 = options.box
        params["roi"] = [i0, i1, j0, j1, options.slice, options.slice]
    if options.intensity is not None:
        params["intensity"] = options.intensity
    return params


def send_click(options: argparse.Namespace) -> Answer:
    """Post the click and read the answer.

    Raises:
        ClickError: see there.
    """
    started = time.perf_counter()
    try:
        response = requests.post(
            f"{options.server.rstrip('/')}/infer/{options.model}",
            params={"image": options.image},
            files={"params": (None, json.dumps(request_params(options)))},
            timeout=options.timeout,
            auth=key_auth(),
        )
    except requests.RequestException as error:
        raise ClickError(f"no answer from {options.server}: {error}") from error
    seconds = time.perf_counter() - started
    if response.status_code != requests.codes.ok:
        raise ClickError(f"the server answered {response.status_code}: {_detail(response)}")
    image, facts = _parts(response)
    return Answer(_read_label(image, options.out), facts, seconds)


def _parts(response: requests.Response) -> tuple[bytes, dict[str, Any]]:
    """The label file and the facts of an answer."""
    kind = response.headers.get("Content-Type", "nothing")
    if not kind.startswith("multipart/"):
        raise ClickError(f"no label map in the answer, but {kind}; is this the right address?")
    content = {}
    for part in MultipartDecoder.from_response(response).parts:
        disposition = part.headers[b"Content-Disposition"].decode()
        content["image" if 'name="image"' in disposition else "params"] = part.content
    try:
        return content["image"], dict(json.loads(content["params"]))
    except (KeyError, ValueError) as error:
        raise ClickError(f"an answer that lacks a part: it has {list(content)}") from error


def _detail(response: requests.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500]


def _read_label(content: bytes, out: Path | None) -> sitk.Image:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.nrrd") if out is None else out
        path.write_bytes(content)
        try:
            return sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise ClickError("the label map in the answer is no NRRD file") from error


def dice_with(answer: Answer, k: int, truth: Path, value: int | None) -> float:
    """Overlap with a label file on slice k, 0 to 1; grids may differ.

    Raises:
        ClickError: the file cannot be read, or has nothing on that slice.
    """
    try:
        labels = sitk.ReadImage(str(truth))
    except RuntimeError as error:
        raise ClickError(f"cannot read {truth}") from error
    # Both lie in the same patient, often with other voxel orders: compare in the answer's grid.
    labels = sitk.Resample(labels, answer.label, sitk.Transform(), sitk.sitkNearestNeighbor)
    values = sitk.GetArrayViewFromImage(labels).transpose(2, 1, 0)
    wanted = (values > 0 if value is None else values == value)[:, :, k]
    if not wanted.any():
        raise ClickError(f"{truth} has no such object on slice {k}")
    mask = answer.mask[:, :, k]
    return float(2 * (mask & wanted).sum() / (mask.sum() + wanted.sum()))


def problems(answer: Answer, options: argparse.Namespace) -> list[str]:
    """Why the mask is not what a click means; empty where it is."""
    mask = answer.mask
    found = []
    if not mask.any():
        return ["the mask is empty"]
    for point in options.point:
        if point[2] == options.slice and not mask[point]:
            found.append(f"the mask misses the click {point}")
    others = [int(k) for k in np.flatnonzero(mask.any(axis=(0, 1))) if k != options.slice]
    if others:
        found.append(f"the mask lies on other slices too: {others}")
    return found


def summary(answer: Answer, options: argparse.Namespace) -> dict[str, Any]:
    """Everything worth knowing, under short names."""
    mask = answer.mask
    i, j, _ = np.nonzero(mask)
    area = answer.label.GetSpacing()[0] * answer.label.GetSpacing()[1]
    return {
        "image": options.image,
        "size": list(mask.shape),
        "slice": options.slice,
        "voxels": int(mask.sum()),
        "area_mm2": round(float(mask.sum()) * area, 1),
        "bounding_box": [int(n) for n in (i.min(), j.min(), i.max(), j.max())] if len(i) else None,
        "iou": answer.facts.get("iou"),
        "model_version": answer.facts.get("model_version"),
        "device": answer.facts.get("device"),
        "server_seconds": answer.facts.get("latencies", {}).get("total"),
        "seconds": round(answer.seconds, 3),
        "warnings": answer.facts.get("warnings", []),
    }


def describe(facts: Mapping[str, Any]) -> str:
    """The summary as lines for a person."""
    size = " x ".join(map(str, facts["size"]))
    corners = facts["bounding_box"]
    lines = {
        "image": f"{facts['image']}, {size} voxels",
        "slice": facts["slice"],
        "mask": f"{facts['voxels']} voxels, {facts['area_mm2'] / 100:.1f} cm2",
        "bounding box": "i {0}..{2}, j {1}..{3}".format(*corners) if corners else "none",
        "predicted IoU": facts["iou"],
        "model version": f"{facts['model_version']} on {facts['device']}",
        "latency": f"{facts['server_seconds']} s in the server, {facts['seconds']} s in all",
    }
    if "dice" in facts:
        lines["Dice with truth"] = facts["dice"]
    if facts["warnings"]:
        lines["warnings"] = "; ".join(facts["warnings"])
    return "\n".join(f"{name:<16} {value}" for name, value in lines.items())


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        answer = send_click(options)
        facts = summary(answer, options)
        if options.truth is not None:
            dice = dice_with(answer, options.slice, options.truth, options.truth_value)
            facts["dice"] = round(dice, 4)
    except (ClickError, OSError) as error:
        print(f"click: {error}", file=sys.stderr)
        return FAILED
    facts["problems"] = problems(answer, options)
    print(json.dumps(facts) if options.json else describe(facts))
    for problem in facts["problems"]:
        print(f"click: {problem}", file=sys.stderr)
    return UNSOUND if facts["problems"] else SOUND


if __name__ == "__main__":
    sys.exit(main())
