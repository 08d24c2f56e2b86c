"""Encoding once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.view import SliceView
from lib.networks import build_sam
from lib.networks.backends import TorchEncoder
from lib.networks.slab_encoder import SlabEncoder
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


def test_a_slab_is_encoded_together_and_stored_slice_by_slice() -> None:
    model = build_sam(replace(golden.TINY, adapters=("medsa",)))
    for block in model.image_encoder.blocks:
        torch.nn.init.normal_(block.Depth_Adapter.D_fc2.weight)
    store = EmbeddingStore(1 << 24)
    embedder = SliceEmbedder(model, SlabEncoder(model, 3), store, "v1")
    planes = tuple(np.roll(VIEW.pixels, 9 * n, axis=1) for n in range(3))
    views = [SliceView(planes[n], slab=planes, place=n) for n in range(3)]
    found = embedder.embed(views[1])
    assert (found.cached, found.encoder) == (False, "torch fp32, slabs of 3")
    others = [embedder.embed(SliceView(planes[n], slab=planes, place=n)) for n in range(3)]
    assert all(other.cached for other in others) and others[1].key == found.key
    assert torch.equal(others[1].embedding.tensor, found.embedding.tensor)
    alone = embedder.embed(SliceView(planes[1]))
    assert not alone.cached
    assert (alone.embedding.tensor - found.embedding.tensor).abs().max() > 1e-2
