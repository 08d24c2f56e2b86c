from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from requests_toolbelt import MultipartEncoder

from lib.data.phantoms import PHANTOM_KINDS
from lib.imaging.segmentation import encode_nrrd_slices
from lib.networks import ARCHITECTURES, PromptTensors
from scripts._benchmark import click, dataset, encoder, tables, train_sides, upstream
from scripts._benchmark.archive import CLASSES, write_archive
from scripts._benchmark.errors import BenchmarkError
from scripts._benchmark.memory import PeakMeter
from scripts._benchmark.network import NetworkSource
from scripts._benchmark.plain_loop import plain_loop
from scripts._benchmark.statistics import summarise, times_faster
from scripts._benchmark.study import MOST_POINTS, OBJECT, Study, clicks, write_study
from scripts._benchmark.turns import Side
from scripts._benchmark.viewer import Viewer
from tests.support.golden import TINY, tiny_model
from tests.support.server import REPOSITORY

ON_LINUX = Path("/proc/self/clear_refs").exists()
SCRIPT = REPOSITORY / "scripts" / "benchmark.py"
_spec = importlib.util.spec_from_file_location("benchmark_script", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)


# --- Numbers


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=50))
def test_summary_is_ordered_and_in_milliseconds(seconds):
    found = summarise(seconds)
    assert found.count == len(seconds)
    assert found.minimum <= found.median <= found.p95 <= found.maximum
    assert (found.minimum, found.maximum) == (1000 * min(seconds), 1000 * max(seconds))


def test_known_summary():
    found = summarise([0.001 * n for n in range(101)])
    assert (found.median, found.p95) == pytest.approx((50, 95))
    assert times_faster(found, summarise([0.025])) == pytest.approx(2)


@pytest.mark.parametrize("seconds", [[], [-0.1], [float("nan")]])
def test_what_is_no_duration_is_refused(seconds):
    with pytest.raises(ValueError, match="duration"):
        summarise(seconds)


def test_peak_memory_is_that_of_the_work():
    def work() -> None:
        _ = np.ones(64 << 20, np.uint8)

    work()  # an earlier peak, which must not count
    meter = PeakMeter()
    idle = meter.read()
    meter = PeakMeter()
    work()
    used = meter.read()
    assert (used is None) == (not ON_LINUX)
    if used is None or idle is None:
        return
    assert idle.added < 32
    assert 60 < used.added < 90
    assert used.peak > used.before


def test_peak_memory_of_nobody_is_not_available():
    assert PeakMeter(2**22 + 1).read() is None


# --- The study


def test_volume_is_as_announced(tmp_path):
    study = write_study(tmp_path, (64, 48, 5), seed=1)
    file = tmp_path / f"{study.image}.nii"
    volume = np.asanyarray(nib.load(file).dataobj)
    assert volume.dtype == np.int16
    assert volume.shape == study.shape
    assert file.stat().st_size == 352 + volume.nbytes  # not compressed
    assert len({volume[:, :, k].tobytes() for k in range(5)}) == 5
    rng = np.random.default_rng(0)
    inside = [volume[study.inside(rng, k)] for k in range(5) for _ in range(9)]
    outside = [volume[study.outside(rng, k)] for k in range(5) for _ in range(9)]
    assert np.abs(np.subtract(inside, OBJECT)).max() < 100
    assert np.mean(outside) < OBJECT - 100
    write_study(tmp_path, (64, 48, 5), seed=1, image="again")
    assert (tmp_path / "again.nii").read_bytes() == file.read_bytes()


def test_requests_grow_by_one_point_or_begin_anew():
    study = Study("x", (64, 48, 5))
    found = list(islice(clicks(np.random.default_rng(0), study, 3), 60))
    counts = [len(points.foreground) + len(points.background) for points in found]
    assert counts[0] == 1
    assert max(counts) == MOST_POINTS
    assert any(points.background for points in found)
    for (before, after), (old, new) in zip(pairwise(counts), pairwise(found), strict=True):
        assert after in (1, before + 1)
        if after > 1:
            assert new.foreground[: len(old.foreground)] == old.foreground
    assert all(voxel[2] == 3 for points in found for voxel in points.foreground)


# --- The original repository

MODELING = {
    "__init__.py": """
from .image_encoder import ImageEncoderViT
from .mask_decoder import MaskDecoder, PromptEncoder, TwoWayTransformer
""",
    "mask_decoder.py": """
from segment_anything.modeling import MaskDecoder as SamDecoder, PromptEncoder, TwoWayTransformer
from lib.networks.fast_decoder import predict_masks

class MaskDecoder(SamDecoder):
    def forward(self, image_embeddings, image_pe, sparse_prompt_embeddings,
                dense_prompt_embeddings, multimask_output):
        logits, iou = predict_masks(self, image_embeddings, image_pe, sparse_prompt_embeddings,
                                    dense_prompt_embeddings)
        kept = slice(1, None) if multimask_output else slice(0, 1)
        return logits[:, kept], iou[:, kept]
""",
    "common.py": "CALLS = []\n",
    "image_encoder.py": """
from lib.networks.architectures import Architecture
from lib.networks.encoder import build_image_encoder
from .common import CALLS

def ImageEncoderViT(*, embed_dim, depth, num_heads, global_attn_indexes, window_size, out_chans,
                    **others):
    CALLS.append(others)
    return build_image_encoder(Architecture("mini", embed_dim, depth, num_heads,
        tuple(global_attn_indexes), window_size, prompt_dim=out_chans))
""",
}


def write_checkout(folder: Path, **changes: str) -> Path:
    """A checkout whose package cannot be imported as a whole, as the original's often cannot."""
    modeling = folder / "segment_anything" / "modeling"
    modeling.mkdir(parents=True)
    (folder / "segment_anything" / "__init__.py").write_text("import a_package_nobody_has\n")
    for name, text in MODELING.items():
        (modeling / name).write_text(changes.get(name.removesuffix(".py"), text))
    return folder


def test_upstream_computes_what_our_network_computes(tmp_path):
    model = tiny_model()
    original = upstream.OriginalEncoder(write_checkout(tmp_path), model)
    images = torch.randn(2, 3, 256, 256, generator=torch.manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(original.encode(images), model.encode(images))
    (others,) = sys.modules[upstream.PACKAGE + ".common"].CALLS
    assert others["adapter_train"] is True
    assert others["img_size"] == TINY.image_size


def test_upstream_does_not_touch_our_segment_anything(tmp_path):
    ours = {name: m for name, m in sys.modules.items() if name.startswith("segment_anything")}
    assert ours
    first = upstream.load_modeling(write_checkout(tmp_path / "a"))
    second = upstream.load_modeling(write_checkout(tmp_path / "b", common="CALLS = ['b']\n"))
    now = {name: m for name, m in sys.modules.items() if name.startswith("segment_anything")}
    assert now == ours
    assert first.common.CALLS == []
    assert second.common.CALLS == ["b"]
    assert str(tmp_path) not in "".join(sys.path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"common": "raise ValueError('no')\n"}, "does not run here: ValueError('no')"),
        ({"__init__": "\n"}, "is not that of SAM-Med2D"),
        (
            {"image_encoder": "from torch import nn\ndef ImageEncoderViT(**_): return nn.ReLU()\n"},
            "is not that of SAM-Med2D",
        ),
    ],
)
def test_another_repository_is_refused(tmp_path, changes, sentence):
    with pytest.raises(BenchmarkError) as info:
        upstream.OriginalEncoder(write_checkout(tmp_path, **changes), tiny_model())
    assert sentence in str(info.value)


def test_the_whole_original_computes_what_our_network_computes(tmp_path):
    ours = tiny_model()
    original = upstream.OriginalNetwork(write_checkout(tmp_path), tiny_model())
    images = torch.randn(2, 3, 256, 256, generator=torch.manual_seed(0))
    points = torch.tensor([[[40.0, 50.0]], [[200.0, 30.0]]])
    prompts = PromptTensors(points, torch.ones(2, 1))
    embeddings = ours.encode(images)
    assert torch.equal(original.encode(images), embeddings)
    for kept in (True, False):
        expected = ours.decode(embeddings, prompts, kept)
        found = original.decode(embeddings, prompts, kept)
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_the_original_corrects_without_learning_prompts(tmp_path):
    original = upstream.OriginalNetwork(write_checkout(tmp_path), tiny_model())
    parameters = list(original.model.prompt_encoder.parameters())
    embeddings = torch.randn(1, 32, 16, 16)
    for masks, learns in ((None, True), (torch.rand(1, 1, 64, 64), False)):
        original.model.zero_grad()
        prompts = PromptTensors(torch.ones(1, 1, 2), torch.ones(1, 1), masks=masks)
        logits, _ = original.decode(embeddings, prompts, True)
        logits.sum().backward()
        assert any(p.grad is not None for p in parameters) == learns


# --- encoder


@pytest.fixture
def main(monkeypatch):
    """The command, with a tiny network and without binding this process to one core."""
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setattr(script, "limit_threads", lambda count: None)
    return script.main


SMALL = ["encoder", "--architecture", "tiny", "--rounds", "2", "--images", "2"]


def test_another_network_is_timed_in_the_same_turns(main, tmp_path, capsys):
    file = tmp_path / "report.json"
    run = [*SMALL, "--variants", "torch:fp32", "--beside", "tiny", "--json", str(file)]
    assert main(run) == script.DONE
    _, other = json.loads(file.read_text())["variants"]
    assert other["name"] == "tiny, torch:fp32"
    assert other["time"]["count"] == 4
    assert other["agreement"] is None
    assert "tiny, torch:fp32" in capsys.readouterr().out


def test_encoder_report(main, tmp_path, capsys):
    file = tmp_path / "report.json"
    run = [*SMALL, "--variants", "torch:fp32,nobody:fp32", "--json", str(file)]
    assert main([*run, "--upstream", str(write_checkout(tmp_path))]) == script.DONE
    report = json.loads(file.read_text())
    assert report["benchmark"] == "encoder"
    assert report["architecture"] == "tiny"
    assert "RANDOM" in report["weights"]
    assert report["machine"]["versions"]["torch"]
    baseline, (ours, nobody) = report["baseline"], report["variants"]
    assert baseline["name"] == upstream.OriginalEncoder.backend_name
    assert baseline["times_faster"] == 1
    assert baseline["time"]["count"] == ours["time"]["count"] == 4
    assert ours["times_faster"] == baseline["time"]["median"] / ours["time"]["median"]
    assert ours["agreement"]["embedding_max_abs"] < 1e-4
    assert ours["agreement"]["dice_minimum"] > 0.99
    assert ours["agreement"]["logits_largest"] > 0
    assert "'nobody'" in nobody["unavailable"]
    assert nobody["time"] is None
    printed = capsys.readouterr()
    assert "nobody:fp32: not available: Got: backend 'nobody'" in printed.out
    assert report["machine"]["cpu"] in printed.out


def test_differences_are_measured(main, tmp_path, monkeypatch):
    class Wrong:
        backend_name = "wrong"

        def __init__(self, model):
            self._model = model

        def encode(self, images):
            with torch.inference_mode():
                return self._model.encode(images) + 0.5

    monkeypatch.setattr(encoder, "make_encoder", lambda model, *_: Wrong(model))
    file = tmp_path / "report.json"
    assert main([*SMALL, "--variants", "wrong:fp32", "--json", str(file)]) == script.DONE
    report = json.loads(file.read_text())
    assert report["baseline"]["name"] == encoder.ReferenceEncoder.backend_name
    agreement = report["variants"][0]["agreement"]
    assert agreement["embedding_max_abs"] == pytest.approx(0.5, rel=1e-3)
    assert agreement["embedding_relative"] > 0.1
    assert agreement["logits_max_abs"] > 0
    assert agreement["dice_minimum"] <= agreement["dice_mean"] <= 1


def test_random_networks_are_the_same_everywhere(monkeypatch, tmp_path):
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    source = NetworkSource.find("tiny", None, 7)
    first, second = source.load().state_dict(), source.load().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["image_encoder.blocks.0.attn.rel_pos_h"].any()
    written = NetworkSource("tiny", source.file(tmp_path), 0).load().state_dict()
    assert all(torch.allclose(first[name], written[name], atol=2e-3) for name in first)
    other = NetworkSource.find("tiny", None, 8).load().state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_failures_are_one_sentence(main, tmp_path, capsys):
    assert main([*SMALL, "--upstream", str(tmp_path)]) == script.FAILED
    assert "is no checkout of the original SAM-Med2D" in capsys.readouterr().err
    assert main([*SMALL, "--checkpoint", str(tmp_path / "no.safetensors")]) == script.FAILED
    assert "no weight file at" in capsys.readouterr().err
    assert main(["click", "--server", "http://127.0.0.1:9", "--image", "x"]) == script.FAILED
    assert "no answer from http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ([], "part"),
        (["encoder", "--variants", "torch"], "backend:precision"),
        (["encoder", "--rounds", "0"], "at least 1"),
        (["encoder", "--architecture", "vit"], "invalid choice"),
        (["click", "--shape", "512,512"], "three whole numbers"),
        (["click", "--shape", "8,512,3"], "at least 16,16,1"),
        (["click", "--checkpoint", "x"], "--checkpoint needs --architecture"),
        (["click", "--server", "http://x"], "belong together"),
        (
            ["click", "--server", "http://x", "--image", "y", "--conf", "device", "cpu"],
            "no --conf",
        ),
        (["volume", "--image", "x.nii"], "--image needs --point"),
        (["train", "--masks", "0"], "at least 1"),
        (["train", "--precision", "fp16"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_explained(wrong, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        script.main(wrong)
    assert end.value.code == script.WRONG_ARGUMENTS
    assert sentence in capsys.readouterr().err


# --- turns, and training


def count_to(most: int):
    """For another process: tells how often it was asked; then it fails, or ends."""
    if most == 0:
        raise BenchmarkError("cannot even start")
    asked = []

    def turn() -> int:
        asked.append(None)
        if len(asked) > most:
            os._exit(3)
        return len(asked)

    return turn


def test_turns_are_taken_in_another_process():
    with Side(count_to, 5) as one, Side(count_to, 5) as two:
        assert [one.take_turn(), two.take_turn(), one.take_turn()] == [1, 1, 2]
        memory = one.end()
        assert (memory is not None) == ON_LINUX
        assert memory is None or memory.peak > 50
    assert not one._process.is_alive()
    assert not two._process.is_alive()


def test_failures_in_the_other_process_are_told():
    with pytest.raises(BenchmarkError, match="cannot even start"):
        Side(count_to, 0)
    with Side(count_to, 1) as side:
        side.take_turn()
        with pytest.raises(BenchmarkError, match="ended with 3"):
            side.take_turn()


def side_plan(folder: Path | None) -> train_sides.SidePlan:
    source = NetworkSource.find("tiny", None, 0)
    return train_sides.SidePlan(source, images=2, masks=3, threads=1, upstream=folder)


def test_both_sides_train_on_the_same_batch(monkeypatch, tmp_path):
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    plan = side_plan(write_checkout(tmp_path))
    batch, again = (train_sides.make_batch(plan, 256) for _ in range(2))
    assert batch.images.shape == (2, 3, 256, 256)
    assert batch.image_of.tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.targets.any(axis=(1, 2)).all()
    assert torch.equal(batch.images, again.images)
    updates: list[str] = []
    for optimiser in (torch.optim.Adam, torch.optim.AdamW):
        monkeypatch.setattr(
            optimiser, "step", lambda self: updates.append(type(self).__name__), raising=True
        )
    for make in (train_sides.original_side, train_sides.our_side):
        laps = make(plan)()
        assert min(laps.encode, laps.learn, laps.steps, laps.processor) > 0
        assert laps.total == laps.encode + laps.learn + laps.steps
        assert laps.gpu_mib is None
    assert updates == ["Adam"] * 9 + ["AdamW"]


def test_train_report(main, tmp_path, capsys):
    file = tmp_path / "report.json"
    run = ["train", "--images", "1", "--masks", "2", "--rounds", "1", "--json", str(file)]
    assert main([*run, "--precision", "fp32"]) == script.DONE
    report = json.loads(file.read_text())
    baseline, ours = report["baseline"], report["ours"]
    assert baseline["name"] == "our modules in its loop"
    assert "nine steps" in baseline["about"]
    assert "float32; one update after 9 steps" in ours["about"]
    for side in (baseline, ours):
        assert side["total"]["count"] == 1
        assert side["images_per_second"] == pytest.approx(1000 / side["total"]["median"])
        assert (side["memory"] is not None) == ON_LINUX
    assert report["times_faster"] == pytest.approx(
        baseline["total"]["median"] / ours["total"]["median"]
    )
    assert f"{report['times_faster']:.2f} times the images a second" in capsys.readouterr().out


def test_a_wrong_checkout_ends_the_comparison(main, tmp_path, capsys):
    assert main(["train", "--rounds", "1", "--upstream", str(tmp_path)]) == script.FAILED
    assert "is no checkout of the original SAM-Med2D" in capsys.readouterr().err


# --- click, against a server made for the test


@contextlib.contextmanager
def pretender(shape: tuple[int, int, int], ahead_total: int | None) -> Iterator[tuple[str, list]]:
    """A server that encodes one slice ahead with each click; gives its address and the requests."""
    bodies: list[dict] = []
    label = encode_nrrd_slices({}, shape, np.eye(4))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
            bodies.append({**sent, "path": self.path})
            facts = {
                "backend": "torch fp32",
                "encoded_before": len(bodies) > 2,
                "latencies": {"decode": 0.002, "total": 0.003},
            }
            if ahead_total:
                facts["encode_ahead"] = {"done": len(bodies), "total": ahead_total}
            fields = {"params": (None, json.dumps(facts)), "image": ("a.nrrd", label)}
            answer = MultipartEncoder(fields=fields)
            if "output=image" in self.path:
                self.answer("application/octet-stream", label)
            else:
                self.answer(answer.content_type, answer.to_string())

        def do_GET(self) -> None:
            self.answer("application/json", json.dumps({"models": {"samed2d": {}}}).encode())

        def answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()


def test_foreign_server(main, tmp_path, capsys):
    file = tmp_path / "report.json"
    with pretender((64, 48, 5), None) as (url, bodies):
        run = ["click", "--server", url, "--image", "ct", "--shape", "64,48,5", "--clicks", "3"]
        assert main([*run, "--json", str(file)]) == script.DONE
    report = json.loads(file.read_text())
    phases = {phase["name"]: phase for phase in report["phases"]}
    counts = {name: phase["http"]["count"] for name, phase in phases.items()}
    assert counts == {
        "first_request": 1,
        "later_clicks": 3,
        "later_clicks_label_only": 3,
        "new_slices": 3,
    }
    assert phases["later_clicks"]["parts"]["decode"]["median"] == pytest.approx(2)
    assert phases["later_clicks"]["encoded_before"] == 3
    assert phases["later_clicks_label_only"]["parts"] == {}
    assert len({body["foreground"][0][2] for body in bodies}) == 4  # the first slice and 3 new
    assert sum("output=image" in body["path"] for body in bodies) == 3
    assert all("image=ct" in body["path"] for body in bodies)
    assert report["memory"] is None
    assert "memory not available" in capsys.readouterr().out


def make_clicker(url: str, shape: tuple[int, int, int]) -> click._Clicker:
    plan = click.ClickPlan(None, shape, clicks=2, pause=0)
    return click._Clicker(plan, Study("ct", shape), url, lambda line: None)


def test_clicks_go_on_until_all_is_encoded_ahead():
    shape = (64, 48, 40)
    with pretender(shape, 20) as (url, bodies):
        clicker = make_clicker(url, shape)
        report = clicker.with_ahead(url)
    assert report.unavailable is None
    assert report.slices == 20
    assert report.seconds > 0
    phases = {p.name: p.http.count for p in clicker.report({}, None, report, None).phases}
    # One request warms up, one opens the volume, and after 18 more everything is encoded.
    assert phases == {
        "first_request_with_ahead": 1,
        "later_clicks_during_ahead": 15,
        "new_slices_during_ahead": 3,
        "new_slices_after_ahead": 2,
    }
    assert "image=warm-up" in bodies[0]["path"]
    slices = [body["foreground"][0][2] for body in bodies[1:]]
    unseen = slices[-2:]
    assert not set(unseen) & set(slices[:-2])


def test_what_was_cached_is_forgotten_but_for_encoders(tmp_path):
    for name in ("encoders", "embeddings"):
        (tmp_path / "cache" / name / "inner").mkdir(parents=True)
    click.forget_embeddings(tmp_path)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["encoders"]


def test_a_faster_encoder_is_waited_for(monkeypatch):
    said = iter(["torch fp32, preparing openvino bf16"] * 3 + ["openvino bf16"])
    viewer = Viewer("http://nobody", "m", "x")
    monkeypatch.setattr(viewer, "info", lambda: {"encoder": next(said)})
    monkeypatch.setattr("scripts._benchmark.viewer.SETTLE_PAUSE", 0)
    viewer.settle(60)
    assert list(said) == []
    monkeypatch.setattr(viewer, "info", lambda: {"encoder": "preparing"})
    viewer.settle(0)


def test_a_server_that_says_nothing_of_progress():
    with pretender((64, 48, 5), None) as (url, _):
        report = make_clicker(url, (64, 48, 5)).with_ahead(url)
    assert report.unavailable == "the server does not say how far it is"


def test_table_columns():
    assert tables.table([["a", "bb"], ["ccc", "d"]]) == ["a    bb", "ccc   d"]


# --- click and volume, with the real server


def leftovers(folder: Path) -> list[str]:
    """Servers that still run on a temporary folder, and files in it."""
    running = [
        " ".join(process.info["cmdline"] or ())
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(process.info["cmdline"] or ())
    ]
    return running + [path.name for path in folder.iterdir()]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Temporary files of the command lie here."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_phantoms_of_every_kind_are_timed(main, tmp_path, capsys):
    file = tmp_path / "report.json"
    run = ["phantoms", "--images", "1", "--rounds", "1", "--size", "64", "--json", str(file)]
    assert main(run) == script.DONE
    report = json.loads(file.read_text())
    assert set(report["rates"]) == set(report["shares"]) == set(PHANTOM_KINDS)
    assert sum(report["shares"].values()) == pytest.approx(1)
    # The rate of the mixture: a second holds so many that their times add up to one.
    seconds = [share / report["rates"][kind] for kind, share in report["shares"].items()]
    assert report["mixture"] == pytest.approx(1 / sum(seconds))
    said = capsys.readouterr().out
    assert "usual mixture" in said
    assert all(kind in said for kind in PHANTOM_KINDS)


def test_phantoms_of_a_size_that_cannot_be(main, capsys):
    assert main(["phantoms", "--images", "1", "--size", "32"]) == script.FAILED
    assert "64 to 2048" in capsys.readouterr().err


def test_a_small_data_set_is_built_and_read(main, scratch, tmp_path, capsys):
    file = tmp_path / "report.json"
    run = ["dataset", "--cases", "2", "--shape", "48,48,40", "--largest", "64,48,40"]
    assert main([*run, "--json", str(file)]) == script.DONE
    report = json.loads(file.read_text())
    assert [engine["name"] for engine in report["engines"]] == ["one process", "2 processes"]
    for part in ("built", "plain", "checked", "packed", "pictures", "shards"):
        rates = report[part]
        # Every slice is one through several balls.
        assert rates["masks"] > 4 * rates["images"] > 0
    assert report["prepared"] > 0 and report["appetite"] > 0
    assert (report["memory"] is not None) is ON_LINUX
    said = capsys.readouterr().out
    assert "times as fast as the plain loop" in said and "read shards" in said
    assert leftovers(scratch) == []


def test_the_plain_loop_makes_what_the_builder_makes(tmp_path):
    write_archive(tmp_path / "in", 1, (48, 40, 44), 0)
    (tmp_path / "plain").mkdir()
    pair = (tmp_path / "in" / f"c0_{kind}.nii" for kind in ("image", "label"))
    assert plain_loop(*pair, tmp_path / "plain", len(CLASSES)) == (
        (totals := dataset._build(tmp_path / "in", tmp_path / "built", "xyz")).images,
        totals.masks,
    )


@pytest.mark.server
def test_next_sample_of_the_real_server(main, scratch, tmp_path, capsys):
    file = tmp_path / "report.json"
    run = ["next", "--cases", "12", "--scored", "2", "--requests", "3", "--json", str(file)]
    assert main(run) == script.DONE
    report = json.loads(file.read_text())
    assert (report["cases"], report["labelled"], report["scored"]) == (12, 1, 2)
    assert set(report["latency"]) == {"random", "uncertainty", "diversity", "sequential"}
    for times in report["latency"].values():
        assert times["count"] == 3
    assert report["slices_per_second"] > 0
    assert "slices/s with samed2d_t" in capsys.readouterr().out
    assert main([*run[:-4], "--requests", "12"]) == script.FAILED
    assert "more requests than cases" in capsys.readouterr().err
    assert leftovers(scratch) == []


@pytest.mark.server
def test_clicks_on_the_real_server(main, scratch, tmp_path):
    file = tmp_path / "report.json"
    run = ["click", "--architecture", "samed2d_t", "--shape", "64,48,5", "--clicks", "3"]
    run += ["--pause", "0", "--settle", "0", "--conf", "labels", "liver", "--json", str(file)]
    assert main(run) == script.DONE
    assert leftovers(scratch) == []
    report = json.loads(file.read_text())
    assert report["weights"] == "samed2d_t.safetensors"
    assert report["shape"] == [64, 48, 5]
    assert report["conf"]["labels"] == "liver"
    assert report["seconds_to_start"] > 0
    phases = {phase["name"]: phase for phase in report["phases"]}
    later, new = phases["later_clicks"], phases["new_slices"]
    assert (later["encoded_before"], new["encoded_before"]) == (3, 0)
    for phase in (later, new):
        assert {"read", "wait", "encode", "decode", "write", "total"} <= set(phase["parts"])
        assert phase["parts"]["total"]["median"] <= phase["http"]["median"]
    assert later["parts"]["encode"]["median"] < new["parts"]["encode"]["median"]
    if ON_LINUX:
        assert report["memory"]["peak"] > 100
    ahead = report["ahead"]
    assert ahead["unavailable"] or (ahead["slices"] > 0 and "new_slices_after_ahead" in phases)


@pytest.mark.server
def test_one_click_for_a_volume(main, scratch, tmp_path):
    # A model for slices answers, so that this needs no weights for volumes.
    write_study(tmp_path, (64, 48, 5), seed=0, image="mine")
    file = tmp_path / "report.json"
    run = ["volume", "--image", str(tmp_path / "mine.nii"), "--point", "32,24,2"]
    assert main([*run, "--model", "samed2d", "--json", str(file)]) == script.DONE
    assert leftovers(scratch) == []
    report = json.loads(file.read_text())
    assert report["shape"] == [64, 48, 5]
    assert report["slices"] == 1
    assert report["seconds_per_slice"] == report["seconds"]
    assert report["latencies"]["total"] <= report["seconds"]


@pytest.mark.server
def test_an_interrupted_benchmark_leaves_nothing(scratch):
    environment = {**os.environ, "TMPDIR": str(scratch)}
    command = [sys.executable, str(SCRIPT), "click", "--shape", "64,48,5", "--clicks", "9999"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "later clicks" in line:  # the server runs
                break
        assert any("start_server" in line for line in leftovers(scratch))
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == script.INTERRUPTED, rest
    assert "Traceback" not in rest
    assert leftovers(scratch) == []
