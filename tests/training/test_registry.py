"""Published versions: whole or not at all, whoever writes, reads or is killed meanwhile."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from lib.errors import CheckpointError, NotFoundError, TrainingError
from lib.networks import AdapterSam, build_sam, load_checkpoint
from lib.networks.checkpoint import read_tensors, save_weights
from lib.networks.weights import version_of
from lib.options import AppOptions
from lib.training.manifest import Manifest, VersionFacts
from lib.training.registry import Registry, apply_version, default_registry, registry_folder
from tests.support.small_sam import SMALL, small_sam

ROOT = Path(__file__).resolve().parents[2]
FACTS = VersionFacts(
    recipe="default",
    trained="decoder",
    data_sha256="d" * 64,
    n_images=5,
    seen=("one", "two"),
    metrics={"box": {"before": 0.5, "after": 0.75}},
    gate={"publish": True, "reason": "better by 0.25"},
)
DECODER = "mask_decoder.iou_token.weight"
ENCODER = "image_encoder.neck.0.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base weight file in half precision, as the shipped ones are."""
    path = tmp_path / "small.safetensors"
    save_weights(small_sam(), path, dtype=torch.float16)
    return path


@pytest.fixture
def registry(tmp_path: Path, base: Path) -> Registry:
    return Registry(tmp_path / "registry", "small", base)


def fresh(base: Path) -> AdapterSam:
    model = build_sam(SMALL)
    load_checkpoint(model, base)
    return model


def trained(base: Path, *names: str, by: float = 0.1) -> AdapterSam:
    """The base network after some of its tensors changed."""
    model = fresh(base)
    with torch.no_grad():
        for name in names or (DECODER,):
            model.state_dict()[name].add_(by)
    return model


def spoil(path: Path) -> None:
    """One other bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_nothing_published_means_the_base(registry: Registry) -> None:
    assert registry.serving() is None
    assert registry.versions() == ()
    assert registry.stamp() is None
    assert not registry.folder.exists()


def test_what_is_loaded_is_what_was_published(registry: Registry, base: Path) -> None:
    model = trained(base, DECODER, ENCODER, by=1 / 3)  # no number of half precision
    registry.publish(model, FACTS)
    version = registry.serving()
    assert version is not None
    loaded = fresh(base)
    apply_version(loaded, version)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_only_what_changed_is_stored(registry: Registry, base: Path) -> None:
    version = registry.publish(trained(base), FACTS)
    tensors, _ = read_tensors(version.weights)
    assert list(tensors) == [DECODER]
    assert tensors[DECODER].dtype == torch.float32


def test_tensors_the_base_does_not_say_are_stored(tmp_path: Path) -> None:
    """Vanilla SAM has no adapters, so those of a network over it are all its own."""
    tensors = {n: t for n, t in small_sam().state_dict().items() if ".Adapter." not in n}
    vanilla = tmp_path / "vanilla.pth"
    torch.save(tensors, vanilla)
    model = fresh(vanilla)
    version = Registry(tmp_path / "registry", "small", vanilla).publish(model, FACTS)
    adapters = {name for name in model.state_dict() if ".Adapter." in name}
    assert adapters and set(version.tensors()) == adapters


def test_the_manifest_says_where_a_version_comes_from(registry: Registry, base: Path) -> None:
    registry.publish(trained(base), FACTS)
    (version,) = registry.versions()
    manifest = version.manifest
    assert (manifest.recipe, manifest.trained, manifest.n_images) == ("default", "decoder", 5)
    assert manifest.seen == ("one", "two")
    assert manifest.metrics == {"box": {"before": 0.5, "after": 0.75}}
    assert manifest.gate == FACTS.gate
    assert manifest.architecture == "small" and manifest.parent is None
    assert len(manifest.base_sha256) == len(manifest.weights_sha256) == 64
    assert manifest.weights_bytes == version.weights.stat().st_size
    assert manifest.created.endswith("+00:00")
    assert manifest.code_version


def test_versions_are_numbered_and_know_their_parents(registry: Registry, base: Path) -> None:
    for by in (0.1, 0.2, 0.3):
        registry.publish(trained(base, by=by), FACTS)
    assert [version.name for version in registry.versions()] == ["v0001", "v0002", "v0003"]
    assert [version.manifest.parent for version in registry.versions()] == [None, "v0001", "v0002"]
    assert registry.versions()[2].manifest.ancestors == ("v0002", "v0001")


def test_names_say_base_version_and_content(registry: Registry, base: Path) -> None:
    version = registry.publish(trained(base), FACTS)
    start = version_of("small", base)
    assert version.model_version == f"{start}-v0001-{version.manifest.weights_sha256[:8]}"
    assert registry.base_version == start == registry.folder.name


def test_versions_with_equal_encoders_share_embeddings(registry: Registry, base: Path) -> None:
    decoder = registry.publish(trained(base), FACTS)
    adapters = registry.publish(trained(base, ENCODER), FACTS)
    both = registry.publish(trained(base, ENCODER, DECODER), FACTS)
    other = registry.publish(trained(base, ENCODER, by=0.2), FACTS)
    assert not decoder.manifest.encoder_changed and adapters.manifest.encoder_changed
    assert decoder.encoder_version == registry.base_version
    assert adapters.encoder_version == both.encoder_version
    names = {v.encoder_version for v in (decoder, adapters, both, other)}
    assert len(names) == 3


def test_a_version_may_be_published_without_serving(registry: Registry, base: Path) -> None:
    stamp = registry.stamp()
    registry.publish(trained(base), FACTS, serve=False)
    assert len(registry.versions()) == 1
    assert registry.serving() is None and registry.stamp() == stamp


def test_attachments_are_published_along(registry: Registry, base: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("<p>report</p>")
    version = registry.publish(
        trained(base), FACTS, attachments={"report.html": tmp_path / "source"}
    )
    assert (version.folder / "report.html").read_text() == "<p>report</p>"


@pytest.mark.parametrize("name", ["../escape", "manifest.json", "weights.safetensors", "a/b", ".."])
def test_an_attachment_stays_in_its_folder(
    registry: Registry, base: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "source").write_text("x")
    with pytest.raises(ValueError, match="plain name"):
        registry.publish(trained(base), FACTS, attachments={name: tmp_path / "source"})
    assert registry.versions() == ()


def test_figures_of_any_kind_are_kept(registry: Registry, base: Path) -> None:
    metrics = {"1": {"before": float("nan"), "after": np.float32(0.5)}}
    gate = MappingProxyType({"n": np.int64(3), "interval": (0.0, math.inf), "where": Path("/x")})
    version = registry.publish(
        trained(base), VersionFacts("default", "decoder", "d", 1, (), metrics, gate)
    )
    assert version.manifest.metrics == {"1": {"before": None, "after": 0.5}}
    assert version.manifest.gate == {"n": 3, "interval": [0.0, None], "where": "/x"}


def test_other_users_may_read_a_version(registry: Registry, base: Path) -> None:
    before = os.umask(0o022)
    try:
        version = registry.publish(trained(base), FACTS)
    finally:
        os.umask(before)
    assert version.folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in version.folder.iterdir()} == {0o644}


def test_the_stamp_changes_with_what_serves(registry: Registry, base: Path) -> None:
    stamps = [registry.stamp()]
    registry.publish(trained(base), FACTS)
    stamps.append(registry.stamp())
    registry.publish(trained(base, by=0.2), FACTS)
    stamps.append(registry.stamp())
    registry.roll_back()
    stamps.append(registry.stamp())
    assert len(set(stamps)) == 4
    assert registry.stamp() == registry.stamp()


def test_rolling_back_goes_along_the_parents_to_the_base(registry: Registry, base: Path) -> None:
    for by in (0.1, 0.2):
        registry.publish(trained(base, by=by), FACTS)
    back = registry.roll_back()
    assert back is not None and back.name == "v0001" and registry.serving() == back
    assert registry.roll_back() is None and registry.serving() is None
    with pytest.raises(NotFoundError, match="nothing served"):
        registry.roll_back()


def test_rolling_back_to_a_name(registry: Registry, base: Path) -> None:
    for by in (0.1, 0.2, 0.3):
        registry.publish(trained(base, by=by), FACTS)
    assert registry.roll_back("base") is None
    named = registry.roll_back("v0002")
    assert named is not None and named.name == "v0002" and registry.serving() == named
    with pytest.raises(NotFoundError, match=r"v0009.*base, v0001, v0002, v0003"):
        registry.roll_back("v0009")
    with pytest.raises(NotFoundError):
        registry.roll_back("../v0001")
    assert registry.serving() == named


def test_rolling_back_to_a_damaged_version_is_refused(registry: Registry, base: Path) -> None:
    first = registry.publish(trained(base), FACTS)
    registry.publish(trained(base, by=0.2), FACTS)
    spoil(first.weights)
    with pytest.raises(CheckpointError, match="SHA-256"):
        registry.roll_back("v0001")
    serving = registry.serving()
    assert serving is not None and serving.name == "v0002"


def test_a_version_after_a_rollback_comes_from_what_served(registry: Registry, base: Path) -> None:
    for by in (0.1, 0.2):
        registry.publish(trained(base, by=by), FACTS)
    registry.roll_back("v0001")
    third = registry.publish(trained(base, by=0.3), FACTS)
    assert third.name == "v0003" and third.manifest.parent == "v0001"


DAMAGE = {
    "weights changed": lambda version: spoil(version.weights),
    "weights gone": lambda version: version.weights.unlink(),
    "weights short": lambda version: version.weights.write_bytes(version.weights.read_bytes()[:99]),
    "manifest gone": lambda version: (version.folder / "manifest.json").unlink(),
    "manifest no JSON": lambda version: (version.folder / "manifest.json").write_text("{"),
    "manifest no object": lambda version: (version.folder / "manifest.json").write_text("[]"),
    "manifest not text": lambda v: (v.folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "all gone": lambda version: shutil.rmtree(version.folder),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_version_is_never_served(
    registry: Registry, base: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for by in (0.1, 0.2):
        registry.publish(trained(base, by=by), FACTS)
    DAMAGE[damage](registry.versions()[1])
    serving = registry.serving()
    assert serving is not None and serving.name == "v0001"
    assert "v0002" in caplog.text
    shutil.rmtree(serving.folder)
    assert registry.serving() is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "v0007"),
        ("weights_bytes", "1"),
        ("ancestors", [1]),
        ("metrics", {"1": 2}),
        ("x", 1),
    ],
)
def test_a_manifest_with_other_entries_is_damaged(
    registry: Registry, base: Path, key: str, value: object
) -> None:
    version = registry.publish(trained(base), FACTS)
    path = version.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert registry.versions() == () and registry.serving() is None
    with pytest.raises(CheckpointError):
        registry.find("v0001")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"line": 1, "since": ""}', '{"line": [1]}'])
def test_a_damaged_pointer_means_the_base(registry: Registry, base: Path, text: str) -> None:
    registry.publish(trained(base), FACTS)
    (registry.folder / "serving.json").write_text(text)
    assert registry.serving() is None
    named = registry.roll_back("v0001")
    assert named is not None and registry.serving() == named


def test_a_damaged_version_is_not_applied(registry: Registry, base: Path) -> None:
    version = registry.publish(trained(base), FACTS)
    spoil(version.weights)
    model = fresh(base)
    with pytest.raises(CheckpointError, match="SHA-256"):
        apply_version(model, version)


def test_a_version_of_another_network_is_not_applied(registry: Registry, base: Path) -> None:
    version = registry.publish(trained(base, DECODER, ENCODER), FACTS)
    other = build_sam(type(SMALL)("other", 48, 2, 2, (0, 1), prompt_dim=32))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"image_encoder\.neck\.0\.weight"):
        apply_version(other, version)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_another_base_has_another_registry(registry: Registry, base: Path, tmp_path: Path) -> None:
    registry.publish(trained(base), FACTS)
    other_base = tmp_path / "other.safetensors"
    save_weights(small_sam(1), other_base)
    other = Registry(tmp_path / "registry", "small", other_base)
    assert other.versions() == () and other.serving() is None
    # A folder copied by hand is not taken for one's own.
    shutil.copytree(registry.folder, other.folder)
    assert other.versions() == () and other.serving() is None


def test_a_missing_base_is_a_clear_error(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "small", tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        registry.serving()


def test_pruning_keeps_the_newest_and_what_serves(registry: Registry, base: Path) -> None:
    for by in (0.1, 0.2, 0.3, 0.4):
        registry.publish(trained(base, by=by), FACTS)
    registry.roll_back("v0002")
    assert registry.prune(keep=1) == ("v0001", "v0003")
    assert [version.name for version in registry.versions()] == ["v0002", "v0004"]
    serving = registry.serving()
    assert serving is not None and serving.name == "v0002"
    # Its parent is gone, so before it there is only the base.
    assert registry.roll_back() is None
    assert registry.publish(trained(base), FACTS).name == "v0005"
    with pytest.raises(ValueError, match="keep = 0"):
        registry.prune(keep=0)


def test_what_a_killed_writer_left_is_ignored_and_removed(registry: Registry, base: Path) -> None:
    first = registry.publish(trained(base), FACTS)
    left = registry.folder / ".part-abc" / "version"
    shutil.copytree(first.folder, left)
    (registry.folder / ".part-serving.json").write_text("{")
    assert registry.serving() == first and registry.versions() == (first,)
    registry.publish(trained(base, by=0.2), FACTS)
    assert not [path for path in registry.folder.iterdir() if path.name.startswith(".")]


def test_several_writers_at_once_number_their_versions(tmp_path: Path, base: Path) -> None:
    def publish(number: int) -> str:
        registry = Registry(tmp_path / "registry", "small", base)
        return registry.publish(trained(base, by=0.1 + number), FACTS).name

    with ThreadPoolExecutor(4) as pool:
        names = sorted(pool.map(publish, range(6)))
    assert names == [f"v{number:04d}" for number in range(1, 7)]
    assert len(Registry(tmp_path / "registry", "small", base).versions()) == 6


def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path, base: Path) -> None:
    (tmp_path / "file").write_text("")
    registry = Registry(tmp_path / "file", "small", base)
    with pytest.raises(TrainingError, match="what served goes on serving"):
        registry.publish(trained(base), FACTS)


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lib.errors import TrainingError
from lib.training.registry import Registry
from tests.training.test_registry import FACTS, trained
registry = Registry(Path(sys.argv[2]), "small", Path(sys.argv[3]))
model = trained(registry.base, by=0.2)
for limit in (16, 600):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        registry.publish(model, FACTS)
    except TrainingError as error:
        print(error.message)
"""


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(registry: Registry, base: Path) -> None:
    """The system refuses files of more than some bytes, as a full disk would.

    With 600 bytes the weights of one tensor can be written, and the manifest cannot.
    """
    first = registry.publish(trained(base), FACTS)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, ROOT, registry.folder.parent, base],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("make room") == 2
    assert registry.serving() == first and registry.versions() == (first,)
    assert not [path for path in registry.folder.iterdir() if path.name.startswith(".")]


PUBLISHERS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from lib.training.registry import Registry
from tests.training.test_registry import FACTS, trained
torch.set_num_threads(1)
registry = Registry(Path(sys.argv[2]), "small", Path(sys.argv[3]))
model = trained(registry.base, by=0.2)
for _ in sys.stdin:
    child = os.fork()
    while child == 0:
        registry.publish(model, FACTS)
        registry.roll_back()
        registry.publish(model, FACTS)
        registry.prune(keep=2)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
"""Starts, for each line it reads, a process that publishes for ever, and waits for its end."""
KILLS = 20


def test_a_killed_writer_leaves_a_registry_that_serves(registry: Registry, base: Path) -> None:
    """SIGKILL at any moment of publishing, rolling back and pruning."""
    model = fresh(base)
    moments = np.random.default_rng(0).uniform(0.01, 0.3, KILLS)
    command = [sys.executable, "-c", PUBLISHERS, ROOT, registry.folder.parent, base]
    names = set()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as publishers:
        assert publishers.stdin is not None and publishers.stdout is not None
        for moment in moments:
            publishers.stdin.write("next\n")
            publishers.stdin.flush()
            writer = int(publishers.stdout.readline())
            ends = time.monotonic() + moment
            while time.monotonic() < ends:
                if (version := registry.serving()) is not None:
                    names.add(version.name)
            os.kill(writer, signal.SIGKILL)
            assert publishers.stdout.readline() == "ended\n"
            if (version := registry.serving()) is not None:
                apply_version(model, version)
            for complete in registry.versions():
                apply_version(model, complete)
        publishers.stdin.close()
    assert len(names) > 1
    last = registry.publish(trained(base), FACTS)
    assert registry.serving() == last
    assert not [path for path in registry.folder.iterdir() if path.name.startswith(".")]


def test_export_holds_base_and_version(random_weights: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", "samed2d_t", random_weights)
    model, _ = registry._build("base")
    with torch.no_grad():
        model.state_dict()[DECODER].add_(1)
    version = registry.publish(model, FACTS)
    registry.export(version.name, tmp_path / "whole.safetensors")
    tensors, _ = read_tensors(tmp_path / "whole.safetensors")
    assert all(torch.equal(tensors[n], t) for n, t in model.state_dict().items())
    with pytest.raises(TrainingError, match="weight file"):
        registry.export(version.name, tmp_path / "no folder" / "whole.safetensors")


def test_differences_are_told_part_by_part(random_weights: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", "samed2d_t", random_weights)
    model, _ = registry._build("base")
    with torch.no_grad():
        model.state_dict()[DECODER].mul_(2)
    registry.publish(model, FACTS)
    found = {part.part: part for part in registry.diff("base", "v0001")}
    assert set(found) == {"image_encoder", "prompt_encoder", "mask_decoder"}
    decoder = found["mask_decoder"]
    assert (decoder.changed, decoder.largest) == (1, DECODER)
    assert 0 < decoder.relative < 1
    assert found["image_encoder"].changed == 0 and found["image_encoder"].relative == 0
    assert all(part.changed == 0 for part in registry.diff("v0001", "v0001"))


def test_the_folder_of_registries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SAMED2D_REGISTRY", raising=False)
    app = ROOT / "apps" / "samed2d" / "model"
    assert default_registry() == registry_folder(AppOptions()) == app
    assert registry_folder(AppOptions(registry=tmp_path)) == tmp_path
    monkeypatch.setenv("SAMED2D_REGISTRY", str(tmp_path))
    assert default_registry() == tmp_path


def test_a_manifest_survives_its_own_text(registry: Registry, base: Path) -> None:
    manifest = registry.publish(trained(base), FACTS).manifest
    assert isinstance(manifest, Manifest)
    assert registry.find("v0001").manifest == manifest
