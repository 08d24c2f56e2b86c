"""Pretraining runs: the schedule, saving, resuming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.data.shards.opening import open_data_set
from lib.data.shards.stream import Position
from lib.data.stream import Mixture, Sample
from lib.errors import OptionError, Samed2dError
from lib.networks import build_sam, load_checkpoint
from lib.training.loop import BatchResult
from lib.training.pretrain import Pretrainer, PretrainPlan, collate
from lib.training.processes import Place
from tests.networks.detailed import DETAILED
from tests.support.datasets import build_small, pack_small
from tests.support.file_server import serve_files
from tests.training.test_loop import SMALL, make_batch

PLAN = PretrainPlan(minutes=1.0, batch_size=2, threads=1, bf16=False, learning_rate=1e-3)


def make_run(out: Path) -> Pretrainer:
    torch.manual_seed(0)
    return Pretrainer(build_sam(SMALL), [], PLAN, out)


def test_collate_lists_objects_of_each_image() -> None:
    rng = np.random.default_rng(0)
    samples = [
        Sample(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8), rng.random((n, 256, 256)) > 0.5)
        for n in (1, 3)
    ]
    batch = collate(samples)
    assert batch.images.shape == (2, 3, 256, 256)
    assert batch.image_of.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(batch.targets[2], samples[1].masks[1])
    assert torch.equal(batch.images[1, 2], torch.from_numpy(samples[1].image[..., 2]).float())


def test_learning_rate_warms_up_and_falls_to_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    rates = []
    for share in (0.0, 0.015, 0.03, 0.5, 1.0, 2.0):
        run.seconds = 60 * PLAN.minutes * share
        rates.append(run.learning_rate())
    assert rates[0] < rates[1] < rates[2] == pytest.approx(PLAN.learning_rate)
    assert rates[2] > rates[3] > rates[4] == pytest.approx(0.0)
    assert rates[5] == pytest.approx(0.0)


def test_a_run_of_so_many_steps_does_not_look_at_the_clock(tmp_path: Path) -> None:
    plan = replace(PLAN, steps=3, finish=Mixture(real_share=0.0), finish_share=0.5)
    run = Pretrainer(build_sam(SMALL), [], plan, tmp_path)
    run.seconds = 1e6
    rates: list[float] = []
    run.run(lambda run, result: rates.append(run.learning_rate()))
    assert run.step == 3 and run.passed == 1.0
    assert rates[0] > rates[1] > rates[2] == pytest.approx(0.0)


def test_saved_runs_go_on_where_they_stopped(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(3):
        run._train_step(make_batch(), rng)
        run.step += 1
    run.seconds = 12.0
    run.save()
    other = Pretrainer(build_sam(SMALL), [], PLAN, tmp_path)
    assert other.resume()
    assert (other.step, other.seconds) == (3, 12.0)
    for left, right in ((run.model, other.model), (run.averaged_model, other.averaged_model)):
        for name, value in left.state_dict().items():
            assert torch.equal(value, right.state_dict()[name]), name
    for one, two in ((run, np.random.default_rng(5)), (other, np.random.default_rng(5))):
        one._train_step(make_batch(), two)
    for left, right in zip(run.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_saved_weights_are_the_average(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run._train_step(make_batch(), np.random.default_rng(0))
    run.save()
    model = build_sam(SMALL)
    load_checkpoint(model, tmp_path / "small.safetensors")
    average = run.averaged_model.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-3, atol=1e-3)


def test_a_run_with_muon_goes_on_and_no_other_can_go_on_from_it(tmp_path: Path) -> None:
    plan = replace(PLAN, optimiser="muon", steps=2)
    torch.manual_seed(0)
    run = Pretrainer(build_sam(SMALL), [], plan, tmp_path)
    assert [type(optimiser).__name__ for optimiser in run.optimisers] == ["Muon", "AdamW"]
    start = [p.detach().clone() for p in run.model.parameters()]
    rng = np.random.default_rng(0)
    run.step = 1
    run._train_step(make_batch(), rng)
    assert {group["lr"] for o in run.optimisers for group in o.param_groups} == {
        run.learning_rate()
    }
    kinds = {
        len(p.shape)
        for p, old in zip(run.model.parameters(), start, strict=True)
        if (p != old).any()
    }
    assert {1, 2, 4} <= kinds
    run.save()
    other = Pretrainer(build_sam(SMALL), [], plan, tmp_path)
    assert other.resume()
    for one, two in ((run, np.random.default_rng(5)), (other, np.random.default_rng(5))):
        one._train_step(make_batch(), two)
    for left, right in zip(run.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(left, right)
    with pytest.raises(OptionError, match="optimiser adamw"):
        make_run(tmp_path).resume()


def test_an_unknown_optimiser_is_refused(tmp_path: Path) -> None:
    plan = replace(PLAN, optimiser="sgd")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="adamw, muon"):
        Pretrainer(build_sam(SMALL), [], plan, tmp_path)


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert not make_run(tmp_path).resume()


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with torch.no_grad():
        run.model.mask_decoder.iou_token.weight.fill_(float("nan"))
    before = run.average.state_dict()["module.image_encoder.pos_embed"].clone()
    with pytest.raises(Samed2dError, match="no number"):
        run._train_step(make_batch(), np.random.default_rng(0))
    assert torch.equal(run.average.state_dict()["module.image_encoder.pos_embed"], before)


def test_a_short_run_from_phantoms_to_a_file(tmp_path: Path) -> None:
    run = Pretrainer(
        build_sam(SMALL),
        [],
        PretrainPlan(minutes=0.02, batch_size=2, threads=1, bf16=False),
        tmp_path,
    )
    steps = []
    run.run(lambda r, result: steps.append(r.step))
    run.save()
    assert steps == list(range(1, len(steps) + 1))
    assert (tmp_path / "small.safetensors").is_file()


def test_the_end_of_a_run_has_a_mixture_of_its_own(tmp_path: Path) -> None:
    first, last = Mixture(kinds=("microscopy",)), Mixture(kinds=("xray",))
    plan = replace(PLAN, minutes=0.1, mixture=first, finish=last, finish_share=0.5)
    assert plan.phases() == ((first, 0.5), (last, 1.0))
    assert PLAN.phases() == ((PLAN.mixture, 1.0),)
    torch.manual_seed(0)
    run = Pretrainer(build_sam(SMALL), [], plan, tmp_path)
    until = []
    run._run_until = lambda end, mixture, *_: until.append((end, mixture))  # type: ignore[method-assign]
    run.run(lambda run, result: None)
    assert until == [(0.5, first), (1.0, last)]
    run.seconds = 4.0
    run.run(lambda run, result: None)
    assert until[2:] == [(1.0, last)], "resumed in its last part"


def test_the_rating_of_masks_can_learn_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_sam(DETAILED)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = Pretrainer(model, [], replace(PLAN, learns="rating"), tmp_path)
    for _ in range(2):
        run._train_step(make_batch(), np.random.default_rng(0))
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    rating = ("mask_decoder.iou_prediction_head.", "mask_decoder.rating.")
    assert changed
    assert all(name.startswith(rating) for name in changed)
    assert {rating[0], rating[1]} <= {name[: len(r)] for name in changed for r in rating}


def test_a_network_without_details_has_no_rating_to_learn(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="details"):
        Pretrainer(build_sam(SMALL), [], replace(PLAN, learns="rating"), tmp_path)


@pytest.mark.timeout(600)
def test_trains_from_shards_over_http_and_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    packed = pack_small(build_small(tmp_path), tmp_path / "shards")
    files = {path.name: path.read_bytes() for path in packed.iterdir()}
    plan = replace(PLAN, mixture=Mixture(real_share=1.0, region_share=0.0))
    with serve_files(**files) as server:
        source = open_data_set(server.url)
        run = Pretrainer(build_sam(SMALL), [], plan, tmp_path / "run", data_set=source)
        with pytest.raises(KeyboardInterrupt):
            run.run(stop_after(4))
        (stopped,) = run.positions
        assert stopped.epoch == 0 and 8 <= stopped.taken < source.total()
        run.save()
        again = Pretrainer(build_sam(SMALL), [], plan, tmp_path / "run", data_set=source)
        assert again.resume() and again.positions == [stopped]
        with pytest.raises(KeyboardInterrupt):
            again.run(stop_after(2))
        assert 4 <= again.positions[0].taken - stopped.taken < 40
    alone = Pretrainer(build_sam(SMALL), [], plan, tmp_path / "run")
    assert alone.resume() and alone.step == 4


def stop_after(steps: int) -> Callable[[Pretrainer, BatchResult], None]:
    left = steps

    def report(run: Pretrainer, result: BatchResult) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    return report


def test_with_another_number_of_processes_the_epoch_begins_again(tmp_path: Path) -> None:
    packed = pack_small(build_small(tmp_path), tmp_path / "shards")
    source = open_data_set(str(packed))
    run = Pretrainer(build_sam(SMALL), [], PLAN, tmp_path / "run", data_set=source)
    run.positions = [Position(2, 31)]
    run.save()
    two = Pretrainer(build_sam(SMALL), [], PLAN, tmp_path / "run", Place(1, 2, 1), source)
    assert two.resume() and two.positions == [Position(2, 0)] * 2
