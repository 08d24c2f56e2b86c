"""Requests as OHIF and Slicer send them, and their answers as those viewers read them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import requests
import SimpleITK

from tests.support.server import RunningServer

OHIF_ECHO = {
    "result_extension": ".nrrd",
    "result_dtype": "uint8",
    "result_compress": False,
    "restore_label_idx": False,
}
"""What the OHIF extension of monailabel 0.8.5 adds to every request."""


def post_infer(
    server: RunningServer,
    params: object,
    image: str | None,
    model: str = "samed2d",
    files: dict[str, Any] | None = None,
    **query: str,
) -> requests.Response:
    """POST /infer/<model>; ``params`` is sent as it is if it is text, else as JSON."""
    text = params if isinstance(params, str) else json.dumps(params)
    address = dict(query) if image is None else {"image": image, **query}
    return requests.post(
        f"{server.url}/infer/{model}",
        params=address,
        files={"params": (None, text), **(files or {})},
        timeout=120,
    )


def ohif_click(
    server: RunningServer, image: str, *points: list[int], model: str = "samed2d"
) -> requests.Response:
    """A click of OHIF's panel Point Prompts: no label, no slice, the file alone as answer."""
    params = {"foreground": list(points), "background": [], **OHIF_ECHO}
    return post_infer(server, params, image, model, output="image")


def read_answer(content: bytes, suffix: str = ".nrrd") -> SimpleITK.Image:
    """The label map of an answer, as Slicer reads it."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        Path(file.name).write_bytes(content)
        return SimpleITK.ReadImage(file.name)


def label_array(image: SimpleITK.Image) -> npt.NDArray[np.uint8]:
    """Voxels of a label map as (I, J, K)."""
    return np.asarray(SimpleITK.GetArrayFromImage(image)).transpose(2, 1, 0)
