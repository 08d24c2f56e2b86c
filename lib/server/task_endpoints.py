"""The host's routes that start long work, with everything checked before a process is started.

Those of 0.8.5 hand any key of the client on: to the process that is started, to its environment,
and to the folders in which it looks for code. A wrong setting is found a minute later in a log;
here it is the answer. Work inside of the server (``run_sync``) is refused: nobody would be answered
meanwhile.

Concurrency contract: the functions share nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import monailabel.endpoints.batch_infer
import monailabel.endpoints.scoring
import monailabel.endpoints.train
from fastapi import HTTPException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.task import AsyncTask

from lib.errors import NotFoundError, RequestError
from lib.server.audit import record
from lib.server.batch import BatchSettings
from lib.server.host_routes import exchange
from lib.server.requests import MAX_TEXT
from lib.training.settings import TrainSettings

GPUS = re.compile(r"all|\d{1,3}(,\d{1,3}){0,15}")
ECHOED = ("model", "client_id", "gpus")
"""Keys that clients add to the settings of a training."""

_train, _batch = monailabel.endpoints.train, monailabel.endpoints.batch_infer
_scoring = monailabel.endpoints.scoring


def check_tasks() -> None:
    """Exchange the routes; to be called before the first request, and may be called again."""
    exchange(_train.router, _train.api_run, answer_train_all)
    exchange(_train.router, _train.api_run_model, answer_train)
    exchange(_train.router, _train.api_stop, answer_train_stop)
    exchange(_batch.router, _batch.api_run, answer_batch)
    exchange(_scoring.router, _scoring.api_run, answer_score_all)
    exchange(_scoring.router, _scoring.api_run_method, answer_score)


def answer_train(
    model: str,
    params: dict[str, Any] | None = None,
    run_sync: bool | None = False,
    enqueue: bool | None = False,
    user: object = None,
) -> Any:
    """``POST /train/{model}``: begin to train.

    Raises:
        NotFoundError: no such model.
        OptionError: an unknown setting, or a value that is not allowed.
        RequestError: another key, or a training inside of the server.
        HTTPException: 429, another one runs.
    """
    _find(app_instance()._trainers, model, "model")
    _refuse_sync(run_sync)
    settings = training_request(model, params or {})
    task, detail = AsyncTask.run(
        "train", request={"model": model}, params=settings, enqueue=bool(enqueue)
    )
    if task is None:
        raise HTTPException(429, detail)
    record("training started", model=model)
    return task


def answer_train_all(
    params: dict[str, Any] | None = None, run_sync: bool | None = False, user: object = None
) -> dict[str, Any]:
    """``POST /train/``, as OHIF does it: the same for each model, one after the other.

    Args:
        params: settings for all, or by model.
        run_sync: refused.
        user: not used.

    Raises:
        Samed2dError: as `answer_train`.
    """
    _refuse_sync(run_sync)
    models, params = list(app_instance()._trainers), params or {}
    by_model = bool(params) and set(params) <= set(models)
    requests = {
        model: training_request(model, params.get(model) if by_model else params)
        for model in models
    }
    answers = {}
    for model, settings in requests.items():
        task, detail = AsyncTask.run(
            "train", request={"model": model}, params=settings, enqueue=True
        )
        record("training started", model=model)
        answers[model] = {"result": task, "detail": detail}
    return answers


def answer_train_stop(user: object = None) -> Any:
    """``DELETE /train/``: end it."""
    stopped = _train.stop()
    if stopped is not None:
        record("training stopped")
    return stopped


def answer_batch(
    model: str,
    images: Any = None,
    params: dict[str, Any] | None = None,
    run_sync: bool | None = False,
    user: object = None,
) -> Any:
    """``POST /batch/infer/{model}``: begin to pre-annotate.

    Raises:
        NotFoundError: no such model.
        RequestError: an unknown key, a value that is not allowed, or work inside of the server.
        HTTPException: 429, another one runs.
    """
    _find(app_instance()._infers, model, "model")
    _refuse_sync(run_sync)
    sent = dict(params or {})
    chosen = sent.pop("images", None) or getattr(images, "value", images)
    asked = {**sent, "images": chosen} if chosen else sent
    if asked.get("model", model) != model:
        raise _wrong("another model in params than in the address", "one model")
    BatchSettings.parse(asked)
    own = {field.name for field in fields(BatchSettings)}
    request = {key: value for key, value in asked.items() if key in own}
    task, detail = AsyncTask.run("batch_infer", request={"model": model}, params=request)
    if task is None:
        raise HTTPException(429, detail)
    record("pre-annotation started", model=model)
    return task


def answer_score_all(
    params: dict[str, Any] | None = None, run_sync: bool | None = False, user: object = None
) -> dict[str, Any]:
    """``POST /scoring/``: nothing; this app scores in the background by itself."""
    _refuse_sync(run_sync)
    return {method: answer_score(method) for method in app_instance()._scoring_methods}


def answer_score(
    method: str,
    params: dict[str, Any] | None = None,
    run_sync: bool | None = False,
    user: object = None,
) -> Any:
    """``POST /scoring/{method}``.

    Raises:
        NotFoundError: no such method; this app has none.
        RequestError: parameters, or work inside of the server.
        HTTPException: 429, another one runs.
    """
    _find(app_instance()._scoring_methods, method, "scoring method")
    _refuse_sync(run_sync)
    if params:
        raise _wrong("parameters of a scoring method", "none")
    task, detail = AsyncTask.run("scoring", request={"method": method}, params={})
    if task is None:
        raise HTTPException(429, detail)
    return task


def training_request(model: str, params: object) -> dict[str, Any]:
    """What a training process is told of what a client sent.

    Raises:
        OptionError: an unknown setting, or a value that is not allowed.
        RequestError: no object, another model, or graphics cards that are none.
    """
    if not isinstance(params, Mapping):
        raise _wrong("settings that are no JSON object", "a JSON object")
    own = {key: value for key, value in params.items() if key not in ECHOED}
    hidden = sorted(key for key in own if key in ("local_rank", "bundle_path", "run_id"))
    if hidden:
        raise _wrong("the key " + ", ".join(map(repr, hidden)), "the settings of a training")
    TrainSettings.parse(own)
    if params.get("model", model) != model:
        raise _wrong("another model in the settings than in the address", "one model")
    gpus = params.get("gpus", "all")
    if not isinstance(gpus, str) or not GPUS.fullmatch(gpus):
        raise _wrong(f"gpus = {str(gpus)[:MAX_TEXT]!r}", '"all", or numbers such as "0,1"')
    return {**own, "gpus": gpus}


def _find(known: Mapping[str, object], name: str, what: str) -> None:
    if name not in known:
        raise NotFoundError(
            got=f"{what} {name[:MAX_TEXT]!r}",
            allowed=", ".join(known) or "none",
            todo="use one of these names in the address",
        )


def _refuse_sync(run_sync: object) -> None:
    if run_sync:
        raise _wrong("run_sync", "work in a process of its own")


def _wrong(got: str, allowed: str) -> RequestError:
    return RequestError(got=got, allowed=allowed, todo="leave it out or correct it")
