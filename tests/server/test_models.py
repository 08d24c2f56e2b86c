from dataclasses import replace
from pathlib import Path

import pytest

from lib.errors import OptionError
from lib.networks import check_architecture
from lib.options import AppOptions
from lib.server import models
from lib.server.kinds import chooser, kind_of
from lib.server.models import (
    ModelSpec,
    NetworkChoice,
    choose_network,
    read_models,
    served_models,
)
from tests.support.server import APP

SPEC = ModelSpec("samed2d", "click", "Click.", 2, ("samed2d_h", "samed2d_b", "samed2d_t"))
FILE = """
name = "samed2d"
kind = "click"
description = "Click."
dimension = 2
architectures = ["samed2d_h", "samed2d_b", "samed2d_t"]
"""


@pytest.fixture
def install(monkeypatch):
    """Pretend that weights are installed for some architectures."""

    def pretend(*names, untrained=()):
        monkeypatch.setattr(models, "installed_weights", lambda n: Path(n) if n in names else None)
        monkeypatch.setattr(models, "is_ready_to_click", lambda path: path.name not in untrained)

    return pretend


def test_read_model(tmp_path):
    (tmp_path / "samed2d.toml").write_text(FILE)
    (tmp_path / "notes.txt").write_text("no model")
    assert read_models(tmp_path) == (SPEC,)


def test_shipped_models_exist_and_name_real_networks():
    specs = read_models(APP / "models")
    assert "samed2d" in [spec.name for spec in specs]
    for spec in specs:
        for name in spec.architectures:
            check_architecture(name)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("kind =", "sort ="), "sort"),
        (("dimension = 2", 'dimension = "2"'), "dimension"),
        (('"samed2d_h"', '"samed2d_x"'), "samed2d_x"),
        (('["samed2d_h", "samed2d_b", "samed2d_t"]', "[]"), "no architecture"),
        (("name =", "name"), "samed2d.toml"),
    ],
)
def test_broken_model_files_are_refused(tmp_path, change, complaint):
    (tmp_path / "samed2d.toml").write_text(FILE.replace(*change))
    with pytest.raises(OptionError, match=complaint):
        read_models(tmp_path)


def test_slabs_are_for_networks_that_know_depth(tmp_path, install):
    install("medsa_t")
    file = tmp_path / "medsa.toml"
    text = FILE.replace('["samed2d_h", "samed2d_b", "samed2d_t"]', '["medsa_b", "medsa_t"]')
    file.write_text(f"{text}slab = 5\n")
    (spec,) = read_models(tmp_path)
    assert spec.slab == 5
    assert choose_network(spec, AppOptions()) == NetworkChoice("medsa_t", Path("medsa_t"), slab=5)
    for broken in (f"{text}slab = 0\n", f'{text}slab = "3"\n', f"{FILE}slab = 5\n"):
        file.write_text(broken)
        with pytest.raises(OptionError, match="slab"):
            read_models(tmp_path)


def test_auto_takes_the_first_with_weights(install):
    install("samed2d_b", "samed2d_t")
    assert choose_network(SPEC, AppOptions()) == NetworkChoice("samed2d_b", Path("samed2d_b"))


def test_auto_passes_over_weights_that_must_be_trained_first(install):
    install("samed2d_b", "samed2d_t", untrained=("samed2d_b",))
    assert choose_network(SPEC, AppOptions()) == NetworkChoice("samed2d_t", Path("samed2d_t"))
    named = choose_network(SPEC, AppOptions(architecture="samed2d_b"))
    assert named == NetworkChoice("samed2d_b", Path("samed2d_b"))


def test_auto_without_any_weights_takes_the_last_untrained(install):
    install()
    assert choose_network(SPEC, AppOptions()) == NetworkChoice("samed2d_t", None)


def test_a_named_architecture_wins(install):
    install("samed2d_b", "samed2d_t")
    choice = choose_network(SPEC, AppOptions(architecture="samed2d_t"))
    assert choice == NetworkChoice("samed2d_t", Path("samed2d_t"))


def test_a_named_architecture_needs_weights(install):
    install("samed2d_t")
    with pytest.raises(OptionError, match=r"get_weights\.py samed2d_b"):
        choose_network(SPEC, AppOptions(architecture="samed2d_b"))


@pytest.mark.parametrize("name", ["samed2d_l", "resnet"])
def test_an_architecture_of_another_model_or_of_none(name, install):
    install("samed2d_l")
    with pytest.raises(OptionError, match=name):
        choose_network(SPEC, AppOptions(architecture=name))


def test_a_checkpoint_replaces_the_installed_weights(install, tmp_path):
    install("samed2d_b")
    file = tmp_path / "own.safetensors"
    file.touch()
    choice = choose_network(SPEC, AppOptions(architecture="samed2d_t", checkpoint=file))
    assert choice == NetworkChoice("samed2d_t", file)


def test_a_checkpoint_that_is_no_file(tmp_path):
    options = AppOptions(architecture="samed2d_t", checkpoint=tmp_path / "gone.safetensors")
    with pytest.raises(OptionError, match=r"gone\.safetensors"):
        choose_network(SPEC, options)


def test_a_checkpoint_needs_an_architecture(tmp_path):
    with pytest.raises(OptionError, match="--conf architecture"):
        choose_network(SPEC, AppOptions(checkpoint=tmp_path / "x.safetensors"))


OTHER = FILE.replace("samed2d", "sammed3d").replace("sammed3d_h", "sammed3d_b", 1)
OTHER = OTHER.replace('"sammed3d_b", "sammed3d_b", "sammed3d_t"', '"sammed3d_b", "sammed3d_t"')


@pytest.fixture
def both(tmp_path):
    (tmp_path / "samed2d.toml").write_text(FILE)
    (tmp_path / "sammed3d.toml").write_text(OTHER)
    return tmp_path


def served(folder, **options):
    found = served_models(folder, AppOptions(**options))
    return [(one.spec.name, one.choice.architecture) for one in found]


def test_only_the_named_models_are_served_in_that_order(both, install):
    install("samed2d_t", "sammed3d_t")
    assert served(both, models=("samed2d",)) == [("samed2d", "samed2d_t")]
    order = ("sammed3d", "samed2d")
    assert served(both, models=order) == [("sammed3d", "sammed3d_t"), ("samed2d", "samed2d_t")]
    with pytest.raises(OptionError, match=r"sam9.*samed2d, sammed3d"):
        served(both, models=("samed2d", "sam9"))


def test_a_network_asked_for_by_name_is_for_the_models_that_can_use_it(both, install):
    install("samed2d_t", "samed2d_b", "sammed3d_t")
    everything = ("samed2d", "sammed3d")
    expected = [("samed2d", "samed2d_t"), ("sammed3d", "sammed3d_t")]
    assert served(both, models=everything, architecture="samed2d_t") == expected
    with pytest.raises(OptionError, match="sammed3d_t"):
        served(both, models=("samed2d",), architecture="sammed3d_t")


def test_one_model_chooses_what_to_label_next(both, install):
    install("samed2d_t", "sammed3d_t")
    found = served_models(both, AppOptions(models=("samed2d", "sammed3d")))
    assert chooser(found) == "samed2d"
    (both / "sammed3d.toml").write_text(OTHER.replace("click", "volume", 1))
    only = served_models(both, AppOptions(models=("sammed3d",)))
    with pytest.raises(OptionError, match="add samed2d"):
        chooser(only)


def test_unknown_kinds_are_refused():
    with pytest.raises(OptionError, match=r"'samed2d' of kind 'clack'.*click, volume"):
        kind_of(replace(SPEC, kind="clack"))
