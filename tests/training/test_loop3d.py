"""An interactive batch of volumes: its gradients, its crash cases, that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.networks.sam3d import Sam3d, build_sam3d, upsample_logits3d
from lib.prompts.simulate import LegacyRandom
from lib.training.annotator3d import Annotator3d, Interaction3d, PublishedAnnotator3d
from lib.training.loop3d import Batch3d, interact3d
from lib.training.losses import dice_ce_loss
from tests.support.small_sam3d import SMALL3D

PLAN = Interaction3d(clicks=3, interior_share=1.0, mask_only_share=0.0)


def balls(seed: int = 0, rows: int = 3) -> Batch3d:
    """Two noisy cubes with bright balls, the first one with all but one of them."""
    rng = np.random.default_rng(seed)
    places = np.indices((32, 32, 32))
    centres = rng.uniform(9, 23, (rows, 3))
    distance = np.sqrt(np.square(places[None] - centres[:, :, None, None, None]).sum(axis=1))
    masks = distance < rng.uniform(4, 8, rows)[:, None, None, None]
    volume_of = np.array([0] * (rows - 1) + [1])
    volumes = rng.normal(0, 0.3, (2, 32, 32, 32))
    for mask, number in zip(masks, volume_of, strict=True):
        volumes[number][mask] += 2.0
    return Batch3d(torch.from_numpy(volumes).float()[:, None], masks, torch.from_numpy(volume_of))


def model() -> Sam3d:
    torch.manual_seed(0)
    return build_sam3d(SMALL3D).train()


def annotator(batch: Batch3d) -> Annotator3d:
    return Annotator3d(batch.coarse(), 32, 8, PLAN, np.random.default_rng(1))


def test_all_parts_learn_and_numbers_are_those_of_all_steps():
    network, batch = model(), balls()
    result = interact3d(network, batch, annotator(batch))
    assert len(result.losses) == len(result.dices) == 3
    silent = {name for name, p in network.named_parameters() if p.grad is None}
    # The single mask learns from its own loss; predicted IoUs have none, as in the original.
    allowed = ("iou_prediction_head", "output_hypernetworks_mlps", "no_mask", "not_a_point")
    assert all(any(part in name for part in allowed) for name in silent), silent
    stem = network.image_encoder.patch_embed.to_half[0].weight
    assert stem.grad is not None and stem.grad.abs().max() > 0


def test_gradients_are_those_of_one_pass_from_cube_to_loss():
    """The way home over the gradient of the embedding is exact."""
    batch, one = balls(), Interaction3d(clicks=1, interior_share=1.0)

    def user() -> Annotator3d:
        return Annotator3d(batch.coarse(), 32, 8, one, np.random.default_rng(1))

    network, other = model(), model()
    result = interact3d(network, batch, user())
    embeddings = other.encode(batch.volumes)[batch.volume_of]
    low_res, _ = other.decode(embeddings, user().first())
    logits = upsample_logits3d(low_res, 16)[:, 0]
    shares = functional.avg_pool3d(torch.from_numpy(batch.targets).float(), 2)
    loss = dice_ce_loss(logits, shares)
    loss.backward()
    assert result.losses[0] == pytest.approx(float(loss.detach()))
    for (name, own), expected in zip(network.named_parameters(), other.parameters(), strict=True):
        if own.grad is not None:
            torch.testing.assert_close(own.grad, expected.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_published_interaction_runs_to_its_end():
    network, batch = model(), balls()
    user = PublishedAnnotator3d(batch.coarse(), 32, 8, LegacyRandom(0))
    assert len(interact3d(network, batch, user).losses) == 11


def test_things_that_fill_no_coarse_voxel_are_not_lost():
    masks = np.zeros((2, 32, 32, 32), bool)
    masks[0, 3, 3, 3] = True
    masks[1, 4:12, 4:12, 4:12] = True
    coarse = Batch3d(torch.zeros(1, 1, 32, 32, 32), masks, torch.zeros(2).long()).coarse()
    assert coarse[0].sum() == 1 and coarse[0, 1, 1, 1]
    assert coarse[1].sum() == 64


def test_it_learns_to_follow_clicks():
    network, batch = model(), balls(rows=2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(36):
        optimiser.zero_grad()
        losses.append(np.mean(interact3d(network, batch, annotator(batch)).losses))
        optimiser.step()
    assert losses[-1] < 0.6 * losses[0]
