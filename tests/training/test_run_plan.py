"""What a run decides by itself."""

from __future__ import annotations

import pytest
import torch

from lib.networks import AdapterSam, build_sam, find_architecture
from lib.training.run_plan import (
    ENOUGH_TARGETS,
    MAX_VARIANTS,
    choose_autocast,
    choose_part,
    plan_run,
    variants_of,
)
from lib.training.settings import TrainSettings
from tests.support.small_sam import small_sam

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FEW, MANY = ENOUGH_TARGETS - 1, ENOUGH_TARGETS


@pytest.fixture(scope="module")
def large() -> AdapterSam:
    with torch.device("meta"):
        return build_sam(find_architecture("samed2d_b"))


def test_few_labels_train_the_decoder_and_many_the_adapters() -> None:
    settings, model = TrainSettings(), small_sam()
    assert choose_part(settings, CPU, model, FEW)[0] == "decoder"
    assert choose_part(settings, CPU, model, MANY)[0] == "adapters"


def test_a_large_encoder_is_trained_on_a_gpu_only(large: AdapterSam) -> None:
    settings = TrainSettings()
    part, reason = choose_part(settings, CPU, large, MANY)
    assert part == "decoder" and "million" in reason
    assert choose_part(settings, CUDA, large, MANY)[0] == "adapters"


def test_what_was_asked_for_is_done() -> None:
    for part in ("adapters", "decoder"):
        settings = TrainSettings(train=part)
        assert choose_part(settings, CPU, small_sam(), 1) == (part, "as asked for")


def test_an_epoch_sees_each_slice_about_once() -> None:
    settings = TrainSettings(epoch_steps=5, train_batch_size=4)
    assert plan_run(settings, small_sam(), 8, 8).epoch_steps == 5
    assert plan_run(settings, small_sam(), 101, 101).epoch_steps == 26


def test_many_variants_of_few_images_and_few_of_many(large: AdapterSam) -> None:
    counts = [variants_of(small_sam(), images) for images in (1, 5, 20, 100, 10_000, 100_000)]
    assert counts[0] == MAX_VARIANTS and counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    assert variants_of(large, 10) < variants_of(small_sam(), 10)


def test_the_precision_that_was_asked_for() -> None:
    assert choose_autocast("fp32", CPU, "adapters") is None
    assert choose_autocast("bf16", CPU, "decoder") is torch.bfloat16
    assert choose_autocast("auto", CPU, "decoder") is None
