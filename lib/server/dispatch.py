"""MONAI Label's ``infer`` done carefully: find the image, call the task, keep the label.

The host's own version (`MONAILabelApp.infer`, 0.8.5) takes whatever exists as a path for the
image, and for an id that its local datastore does not know it reads the current directory as a
DICOM series and answers with a foreign image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.errors import NotFoundError, RequestError
from lib.server.audit import record
from lib.server.infer import UNCERTAINTY_FILE
from lib.server.requests import HOST_KEYS, ClickRequest
from lib.server.start_label import saved_label
from lib.server.watch import note_segmentation


class Task(Protocol):
    """What this layer needs of the host's InferTask."""

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment: path of a temporary label file, and facts for JSON."""


def run_infer(
    tasks: Mapping[str, Task],
    request: Mapping[str, Any],
    datastore: Datastore,
    on_saved: Callable[[str, str], object] = lambda image, label: None,
) -> dict[str, Any]:
    """Answer one request; replaces `MONAILabelApp.infer`.

    Args:
        tasks: model name -> InferTask.
        request: ``model``, ``image`` (an id, or a path the host made itself of an upload), and
            the client's parameters, already checked.
        datastore: of images and labels.
        on_saved: called with the ids of image and label after a final label was stored.

    Returns:
        What the host's endpoints expect: ``file`` (they send and remove it), ``label``, ``tag``
        and ``params``; and the path of a second file where the task made one.

    Raises:
        NotFoundError: no such model or image; and everything the task raises.
        RequestError: an uploaded image for a task that saves.
    """
    task = find_task(tasks, str(request.get("model") or ""))
    # The tasks of the host's own kinds do not have it.
    saves = bool(getattr(task, "saves", False))
    image = str(request.get("image") or "")
    # Only an upload arrives as an absolute path: ids with a separator were refused before.
    uploaded = Path(image).is_absolute()
    if uploaded and saves:
        raise RequestError(
            got=f"an uploaded image for {request['model']}",
            allowed="an image of the datastore, where labels can be kept",
            todo="add the image with PUT /datastore/image",
        )
    path = image if uploaded else image_path(datastore, image)
    click = ClickRequest.parse({k: v for k, v in request.items() if k not in HOST_KEYS})
    start = {} if click.start == "none" or uploaded else saved_label(datastore, image)
    # A label sent along goes before a saved one.
    result_file, facts = task({**start, **request, "image": path})
    note_segmentation(facts)
    answer = {"label": result_file, "tag": DefaultLabelTag.ORIGINAL, "file": result_file}
    files = [result_file]
    if UNCERTAINTY_FILE in facts:
        answer[UNCERTAINTY_FILE] = facts.pop(UNCERTAINTY_FILE)
        files.append(answer[UNCERTAINTY_FILE])
    try:
        if (click.save_label or saves) and not uploaded:
            tag = DefaultLabelTag.FINAL.value if saves else click.label_tag
            info = {"model": request["model"], "params": facts, "label_info": label_info(facts)}
            answer["label"] = datastore.save_label(image, result_file, tag, info)
            record("label saved", image, tag=tag, model=str(request["model"]))
            if tag == DefaultLabelTag.FINAL.value:
                on_saved(image, answer["label"])
    except BaseException:
        for file in files:
            Path(file).unlink(missing_ok=True)
        raise
    return {**answer, "params": facts}


def find_task(tasks: Mapping[str, Task], model: str) -> Task:
    """The task of a model.

    Raises:
        NotFoundError: this app has no such model.
    """
    if model not in tasks:
        raise NotFoundError(
            got=f"model {model[:128]!r}",
            allowed=", ".join(tasks) or "none",
            todo="use one of these names in the address",
        )
    return tasks[model]


def image_path(datastore: Datastore, image: str) -> str:
    """The file of an image id; a DICOMweb datastore downloads it first.

    Raises:
        NotFoundError: the datastore does not know the id.
        UnavailableError: its PACS does not answer.
    """
    # The local store answers "" for an id it does not know.
    path = str(datastore.get_image_uri(image) or "") if image else ""
    if not path:
        raise NotFoundError(
            got=f"image {image[:128]!r}",
            allowed="an image id of the datastore; GET /datastore/?output=all lists them",
            todo="choose an image from that list",
        )
    return path


def label_info(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Names of the values in a label file, in the order of the values, as the host stores them."""
    return [{"name": name, "idx": value} for name, value in facts["label_names"].items()]
