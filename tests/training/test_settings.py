"""Training settings from a client's JSON and from a command line."""

from __future__ import annotations

from dataclasses import fields

import pytest

from lib.errors import OptionError
from lib.training.settings import SENT_BY_HOST, TrainSettings, describe_settings

VALUES = {
    "train": "adapters",
    "recipe": "paper",
    "max_epochs": 7,
    "epoch_steps": 3,
    "max_minutes": 0.5,
    "train_batch_size": 2,
    "learning_rate": 1e-3,
    "val_split": 0.5,
    "adapter_init": "neutral",
    "publish": "force",
    "device": "cpu",
    "precision": "bf16",
    "multi_gpu": False,
    "resume": False,
    "name": "run-2",
    "seed": 3,
    "tracking": "mlflow",
    "tracking_uri": "sqlite:////tmp/a.db",
}
WRONG: list[tuple[str, object]] = [
    ("train", "encoder"),
    ("recipe", ["default", "paper"]),
    ("max_epochs", 0),
    ("max_epochs", True),
    ("epoch_steps", 1.5),
    ("max_minutes", "soon"),
    ("train_batch_size", -1),
    ("learning_rate", float("nan")),
    ("learning_rate", 2.0),
    ("val_split", 0.0),
    ("adapter_init", "zero"),
    ("publish", None),
    ("device", "cuda:1; rm -rf"),
    ("precision", "fp16"),
    ("multi_gpu", "perhaps"),
    ("resume", 1),
    ("name", "../../etc"),
    ("name", ""),
    ("seed", "x"),
    ("tracking", "wandb"),
    ("tracking_uri", "file:///tmp/mlruns"),
]


def test_every_setting_can_be_set() -> None:
    assert set(VALUES) == {f.name for f in fields(TrainSettings)}
    settings = TrainSettings.parse(VALUES)
    assert {name: getattr(settings, name) for name in VALUES} == VALUES


def test_texts_of_a_command_line_mean_the_same() -> None:
    texts = {
        name: str(value).lower() if value is False else str(value) for name, value in VALUES.items()
    }
    assert TrainSettings.parse(texts) == TrainSettings.parse(VALUES)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_that_is_not_allowed_is_named(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=name):
        TrainSettings.parse({name: value})


def test_an_unknown_key_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"max_epoch'.*Allowed: train, recipe, max_epochs"):
        TrainSettings.parse({"max_epoch": 3})


def test_what_the_host_adds_is_passed_over() -> None:
    assert TrainSettings.parse(dict.fromkeys(SENT_BY_HOST, "x")) == TrainSettings()


def test_the_form_of_clients_sends_the_defaults_back() -> None:
    """Slicer sends the first item of each list and every other value as it is."""
    form = TrainSettings.config()
    sent = {name: value[0] if isinstance(value, list) else value for name, value in form.items()}
    assert TrainSettings.parse(sent) == TrainSettings()


def test_every_setting_is_explained() -> None:
    rows = describe_settings()
    assert [name for name, _, _ in rows] == [f.name for f in fields(TrainSettings)]
    assert all(len(text) > 5 for _, _, text in rows)
