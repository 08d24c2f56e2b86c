"""One process alone; several are tested in test_launch."""

from __future__ import annotations

import torch

from lib.networks import PromptTensors
from lib.training.parallel import LocalNetwork, total_of
from tests.support.small_sam import small_sam


def test_the_network_alone_encodes_and_decodes_as_the_model_does() -> None:
    model = small_sam().eval()
    network = LocalNetwork(model)
    images = torch.zeros(1, 3, 256, 256)
    with network.apart():
        embeddings = network.encode(images)
    assert torch.equal(embeddings, model.encode(images))
    prompts = PromptTensors(boxes=torch.tensor([[10.0, 20.0, 90.0, 120.0]]))
    ours, theirs = (
        network.decode(embeddings, prompts, True),
        model.decode(embeddings, prompts, True),
    )
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_another_encoder_may_stand_in() -> None:
    model = small_sam().eval()
    network = LocalNetwork(model, lambda images: images.mean() + torch.zeros(1))
    assert network.encode(torch.ones(1, 3, 4, 4)) == torch.ones(1)


def test_a_sum_over_one_process_is_the_number() -> None:
    assert total_of(2.5, torch.device("cpu")) == 2.5
