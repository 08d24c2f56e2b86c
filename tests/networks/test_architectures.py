"""Sizes of the networks: what their adapters count."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib.networks import ARCHITECTURES, build_sam
from lib.networks.checkpoint import kind_of_adapter

DECODER = 39_696
"""Adapters in the decoder, which is the same for all three."""


def counts(name: str, ratio: float | None = None) -> tuple[int, int, int, int]:
    """Parameters of Med-SA's adapters: all of the encoder, those along depth, all of the decoder.

    And of the network.
    """
    architecture = ARCHITECTURES[name]
    if ratio is not None:
        architecture = replace(architecture, adapter_ratio=ratio)
    with torch.device("meta"):
        model = build_sam(architecture)
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    ours = {n: size for n, size in sizes.items() if kind_of_adapter(n) == "medsa"}
    encoder = sum(size for n, size in ours.items() if n.startswith("image_encoder."))
    depth = sum(size for n, size in ours.items() if ".Depth_Adapter." in n)
    return encoder, depth, sum(ours.values()) - encoder, sum(sizes.values())


@pytest.mark.parametrize(
    ("name", "adapters"),
    [("medsa_b", 10_651_392), ("medsa_l", 37_840_896), ("medsa_h", 78_796_800)],
)
def test_adapters_of_the_public_code(name: str, adapters: int) -> None:
    found, depth, _, _ = counts(name, ratio=0.25)
    assert found == adapters == 3 * depth


@pytest.mark.parametrize(
    ("name", "adapters"),
    [("medsa_b", 1_687_608), ("medsa_l", 5_974_848), ("medsa_h", 12_661_536)],
)
def test_adapters_are_two_per_cent_as_in_the_paper(name: str, adapters: int) -> None:
    found, _, in_decoder, whole = counts(name)
    assert found == adapters
    assert in_decoder == DECODER
    assert 0.015 < (found + in_decoder) / whole <= 0.02


def test_the_compact_network_is_its_base_and_adapters() -> None:
    adapters, _, in_decoder, whole = counts("medsa_t")
    assert (adapters, in_decoder) == (336_096, 126_080)
    assert whole == counts("samed2d_t")[3] + adapters + in_decoder


def test_every_base_is_an_architecture_with_its_own_weights() -> None:
    bases = {a.base for a in ARCHITECTURES.values() if a.base is not None}
    assert bases and all(ARCHITECTURES[name].base is None for name in bases)
