"""Options from --conf and the environment: parsed once, typed, never silently wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import OptionError
from lib.options import (
    DEVICES,
    ENVIRONMENT_OF_SCRIPTS,
    INTENSITIES,
    AppOptions,
    default_cache_dir,
    default_journal,
    describe_options,
    known_options,
    parse_options,
)

VALUES = {
    "labels": ("liver, left kidney,spleen", ("liver", "left kidney", "spleen")),
    "models": ("samed2d, sammed3d", ("samed2d", "sammed3d")),
    "architecture": (" samed2d_b ", "samed2d_b"),
    "checkpoint": ("/weights/own file.pth", Path("/weights/own file.pth")),
    "device": ("cpu", "cpu"),
    "backend": ("openvino", "openvino"),
    "precision": ("int8", "int8"),
    "intensity": ("lung", "lung"),
    "zoom": ("off", "off"),
    "embedding_cache_mb": ("64", 64),
    "volume_cache_mb": ("128", 128),
    "max_voxels": ("1000000", 1_000_000),
    "embedding_disk_mb": ("0", 0),
    "cache_dir": ("/var/cache/my folder", Path("/var/cache/my folder")),
    "encode_ahead": ("off", "off"),
    "registry": ("/var/lib/my versions", Path("/var/lib/my versions")),
    "journal": ("/var/lib/my labels", Path("/var/lib/my labels")),
    "strategy": ("sequential", "sequential"),
    "lease_minutes": ("0", 0),
    "score_budget": ("120", 120),
    "scored_slices": ("3", 3),
    "auto_train": ("5", 5),
    "volume_seconds": ("120", 120),
    "api_keys": ("/etc/samed2d/keys.json", Path("/etc/samed2d/keys.json")),
    "max_upload_mb": ("64", 64),
    "max_waiting": ("8", 8),
    "audit_log": ("/var/log/my audit.log", Path("/var/log/my audit.log")),
}
"""Option -> what a user writes, what it becomes."""

WRONG = {
    "labels": ("", " , ,", "liver,liver", "liver, liver"),
    "models": ("", ",", "samed2d,samed2d"),
    "architecture": ("", "  "),
    "device": ("", "gpu", "CPU", "cuda:x"),
    "backend": ("", "onnx", "Torch"),
    "precision": ("", "fp16", "float32"),
    "intensity": ("", "softtissue", "Lung"),
    "zoom": ("", "Auto", "2"),
    "embedding_cache_mb": ("", "0", "-1", "1.5", "many", "1e3", "inf"),
    "volume_cache_mb": ("0", "none"),
    "max_voxels": ("0", "-5", "10^9"),
    "embedding_disk_mb": ("", "-1", "0.5", "-0", "none"),
    "encode_ahead": ("", "On", "true", "1"),
    "strategy": ("", "Random", "best"),
    "lease_minutes": ("-1", "0.5", "30m"),
    "score_budget": ("-1", "1.5", "all"),
    "scored_slices": ("0", "-1", "all"),
    "auto_train": ("-1", "often"),
    "volume_seconds": ("0", "30s"),
    "max_upload_mb": ("0", "1G"),
    "max_waiting": ("0", "-1", "many"),
}


MAY_BE_ZERO = ("embedding_disk_mb", "auto_train", "lease_minutes", "score_budget")


def test_defaults() -> None:
    assert parse_options({}, {}) == AppOptions()
    assert parse_options(None, {}) == AppOptions()


@pytest.mark.parametrize("name", VALUES)
def test_value_from_conf(name: str) -> None:
    text, value = VALUES[name]
    options = parse_options({name: text}, {})
    assert getattr(options, name) == value
    assert options == dataclasses.replace(AppOptions(), **{name: value})


@pytest.mark.parametrize("name", VALUES)
def test_value_from_the_environment(name: str) -> None:
    text, value = VALUES[name]
    assert getattr(parse_options({}, {f"SAMED2D_{name.upper()}": text}), name) == value


def test_every_option_is_tried_here() -> None:
    assert set(VALUES) == set(known_options())


def test_conf_wins_over_the_environment() -> None:
    options = parse_options({"labels": "liver"}, {"SAMED2D_LABELS": "a", "SAMED2D_DEVICE": "cpu"})
    assert options.labels == ("liver",)
    assert options.device == "cpu"


def test_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMED2D_LABELS", "from the shell")
    assert parse_options().labels == ("from the shell",)


def test_other_variables_are_not_ours() -> None:
    environment = {"PATH": "/bin", "MONAI_LABEL_STUDIES": "x", "samed2d_labels": "lower case"}
    assert parse_options({}, environment) == AppOptions()


def test_variables_of_the_scripts_are_no_options() -> None:
    environment = dict.fromkeys(ENVIRONMENT_OF_SCRIPTS, "/somewhere")
    assert parse_options({}, environment) == AppOptions()
    assert "SAMED2D_VENV" in ENVIRONMENT_OF_SCRIPTS


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts]
)
def test_wrong_value(name: str, text: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_options({name: text}, {})
    assert f"option {name} = {text!r}" in caught.value.got
    assert caught.value.allowed
    assert caught.value.status == 400


@pytest.mark.parametrize(("name", "words"), [("device", DEVICES), ("intensity", INTENSITIES)])
def test_wrong_word_is_answered_with_the_right_ones(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as caught:
        parse_options({name: "nonsense"}, {})
    assert all(word in caught.value.allowed for word in words)


@pytest.mark.parametrize(
    ("conf", "environment"),
    [({"lables": "liver"}, {}), ({}, {"SAMED2D_LABLES": "liver"}), ({"LABLES": "x"}, {})],
)
def test_unknown_option(conf: dict[str, str], environment: dict[str, str]) -> None:
    with pytest.raises(OptionError) as caught:
        parse_options(conf, environment)
    assert "lables" in caught.value.got.lower()
    assert all(name in caught.value.allowed for name in known_options())


def test_all_unknown_options_are_named_at_once() -> None:
    with pytest.raises(OptionError, match="'one', 'two'"):
        parse_options({"two": "2", "one": "1"}, {})


def test_empty_checkpoint_is_none_and_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_options({"checkpoint": " "}, {}).checkpoint is None
    assert parse_options({"checkpoint": "~/w.pth"}, {}).checkpoint == Path("/home/me/w.pth")


def test_the_cache_lies_in_the_home_folder_unless_xdg_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert default_cache_dir({}) == Path("/home/me/.cache/samed2d")
    assert default_cache_dir({"XDG_CACHE_HOME": "/scratch"}) == Path("/scratch/samed2d")
    assert default_cache_dir({"XDG_CACHE_HOME": "relative"}) == Path("/home/me/.cache/samed2d")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_cache_dir() == Path("/elsewhere/samed2d")


def test_saved_labels_are_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert default_journal({}) == Path("/home/me/.local/share/samed2d/journal")
    assert default_journal({"XDG_DATA_HOME": "/data"}) == Path("/data/samed2d/journal")
    assert default_journal({"XDG_DATA_HOME": "x"}) == default_journal({})
    monkeypatch.setenv("XDG_DATA_HOME", "/elsewhere")
    assert default_journal() == Path("/elsewhere/samed2d/journal")


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        AppOptions().device = "cpu"  # type: ignore[misc]


def test_description_is_complete_and_its_defaults_parse() -> None:
    rows = describe_options()
    assert tuple(name for name, _, _ in rows) == known_options()
    assert all(text for _, _, text in rows)
    assert parse_options({name: default for name, default, _ in rows}, {}) == AppOptions()


NAMES = st.lists(
    st.text(st.characters(exclude_characters=","), min_size=1).map(str.strip).filter(bool),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(NAMES)
def test_any_label_names_survive(names: list[str]) -> None:
    assert parse_options({"labels": " , ".join(names)}, {}).labels == tuple(names)


@given(st.text())
def test_any_text_is_a_value_or_an_option_error(text: str) -> None:
    for name in known_options():
        if isinstance(VALUES[name][1], Path):
            continue  # every text is a path; whether it exists is asked when it is used
        try:
            value = getattr(parse_options({name: text}, {}), name)
        except OptionError:
            continue
        assert value or (value == 0 and name in MAY_BE_ZERO)
