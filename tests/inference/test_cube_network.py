"""Cubes encoded once, clicks answered in turn."""

from __future__ import annotations

import numpy as np
import torch

from lib.networks.sam3d import PromptTensors3d
from tests.support.tiny3d import small_model, small_network

CUBE = np.random.default_rng(0).standard_normal((32, 32, 32)).astype(np.float32)
POINTS = np.array([[16.0, 16, 16], [3, 4, 5], [20, 8, 9]])


def test_a_cube_is_encoded_once() -> None:
    network = small_network()
    first, second = network.embedder.embed(CUBE), network.embedder.embed(CUBE.copy())
    assert (first.cached, second.cached) == (False, True)
    assert torch.equal(first.tensor, second.tensor)
    assert network.embedder.embed(-CUBE).key != first.key
    assert first.encoder == "torch fp32" and first.key.startswith("small3d-1/torch fp32/")


def test_embeddings_of_an_earlier_encoder_are_taken() -> None:
    network = small_network()
    first = network.embedder.embed(CUBE)

    class Faster:
        backend_name = "faster"

        def encode(self, volumes: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1, 1, 1, 1, 1)

    network.embedder.also_good = ("torch fp32",)
    network.embedder.encoder = Faster()
    assert network.embedder.embed(CUBE).key == first.key
    assert network.embedder.embed(-CUBE).encoder == "faster"


@torch.no_grad()
def test_clicks_are_answered_one_after_the_other() -> None:
    model = small_model()
    network = small_network(model)
    image = network.embedder.embed(CUBE)
    answer = network.answer(image, POINTS, (1, 0, 1))
    logits = torch.zeros(1, 1, 8, 8, 8)
    for count in (1, 2, 3):
        points = torch.from_numpy(POINTS[None, :count]).float()
        prompts = PromptTensors3d(points, torch.tensor([[1, 0, 1]])[:, :count], logits)
        logits, iou = model.decode(image.tensor, prompts)
    np.testing.assert_allclose(answer.logits, logits[0, 0], atol=1e-5)
    assert abs(answer.iou - float(iou)) <= 1e-5


def test_stages_are_decoded_once(monkeypatch) -> None:
    model = small_model()
    network = small_network(model)
    image = network.embedder.embed(CUBE)
    decodes = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda *a: decodes.append(a) or decode(*a))
    network.answer(image, POINTS[:2], (1, 0))
    network.answer(image, POINTS, (1, 0, 1))
    assert len(decodes) == 3
    network.answer(image, POINTS, (1, 0, 0))
    network.answer(image, POINTS[:1], (1,), np.ones((8, 8, 8), np.float32))
    assert len(decodes) == 5
