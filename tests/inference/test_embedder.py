"""Encoding once."""

from __future__ import annotations

import numpy as np
import torch

from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.view import SliceView
from lib.networks.backends import TorchEncoder
from tests.support import golden

VIEW = SliceView(np.arange(48 * 64, dtype=np.int16).reshape(48, 64))


def make(store: EmbeddingStore, precision: str = "fp32", version: str = "v1") -> SliceEmbedder:
    model = golden.tiny_model()
    return SliceEmbedder(model, TorchEncoder(model, precision), store, version)


def test_network_arithmetic_and_content_tell_embeddings_apart() -> None:
    store = EmbeddingStore(1 << 24)
    first = make(store).embed(VIEW)
    assert (first.cached, first.encoder) == (False, "torch fp32")
    assert make(store).embed(SliceView(VIEW.pixels.copy())).cached
    assert not make(store, "bf16").embed(VIEW).cached
    assert not make(store, version="v2").embed(VIEW).cached
    assert not make(store).embed(VIEW.cropped((0, 0, 40, 40))).cached
    assert not make(store).embed(SliceView(VIEW.pixels + 1)).cached
    assert make(store).knows(VIEW)


def test_who_began_with_another_encoder_goes_on_with_it() -> None:
    store = EmbeddingStore(1 << 24)
    embedder = make(store)
    before = embedder.embed(VIEW)
    other = SliceView(VIEW.pixels + 1)
    embedder.encoder = TorchEncoder(embedder.model, "bf16")
    embedder.also_good = ("torch fp32",)
    after = embedder.embed(VIEW)
    assert (after.encoder, after.cached, after.key) == ("torch fp32", True, before.key)
    assert torch.equal(after.embedding.tensor, before.embedding.tensor)
    assert embedder.embed(other).encoder == "torch bf16"
    embedder.also_good = ()
    assert embedder.embed(VIEW).encoder == "torch bf16"
