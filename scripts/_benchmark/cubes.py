"""Networks of volumes in ``benchmark.py encoder``: cubes, the original's encoder, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from lib.networks.sam3d import PromptTensors3d, Sam3d, upsample_logits3d
from scripts._benchmark.agreement import Agreement, dice
from scripts._benchmark.upstream import fitted, load_modeling

CLICKS = 3
"""Prompts of each cube."""


@dataclass(frozen=True)
class CubeCase:
    """A cube with clicks in it.

    Attributes:
        image: (1, 1, S, S, S) float32, mean 0 and deviation 1.
        points: (1, 1, 3) each.
    """

    image: torch.Tensor
    points: tuple[torch.Tensor, ...]


class OriginalCubeEncoder:
    """The arithmetic of the original SAM-Med3D with the weights of one of our networks.

    Args:
        checkout: folder with the original repository.
        model: whose weights are copied, by the names of the published state dict.

    Raises:
        BenchmarkError: no such checkout, or an encoder that these weights do not fit.
    """

    backend_name = "original torch fp32"

    def __init__(self, checkout: Path, model: Sam3d) -> None:
        modeling = load_modeling(checkout, "image_encoder3D.py", "uni-medical/SAM-Med3D")
        encoder = fitted(checkout, partial(_encoder, modeling, model), model.image_encoder)
        self._encoder = encoder.to(model.blank().device).eval()

    @torch.inference_mode()
    def encode(self, volumes: torch.Tensor) -> torch.Tensor:
        """Embed cubes (B, 1, S, S, S) as (B, C, S/16, S/16, S/16)."""
        embeddings: torch.Tensor = self._encoder(volumes)
        return embeddings


def make_cube_cases(model: Sam3d, count: int, seed: int) -> list[CubeCase]:
    """Seeded cubes of noise at several scales, with seeded clicks."""
    generator = torch.Generator().manual_seed(seed)
    blank = model.blank()
    size = blank.shape[-1]
    cases = []
    for _ in range(count):
        coarse = torch.randn(1, 1, *3 * (size // 8,), generator=generator)
        fine = torch.randn(blank.shape, generator=generator)
        cube = upsample_logits3d(coarse, size) + 0.3 * fine
        cube = (cube - cube.mean()) / cube.std()
        points = torch.rand(CLICKS, 1, 1, 3, generator=generator) * (size - 1)
        cases.append(CubeCase(cube.to(blank.device), tuple(points.to(blank.device))))
    return cases


@torch.inference_mode()
def compare_cubes(
    model: Sam3d,
    cases: Sequence[CubeCase],
    baseline: Sequence[torch.Tensor],
    other: Sequence[torch.Tensor],
) -> Agreement:
    """As `scripts._benchmark.agreement.compare`; masks are compared at the size of the cube."""
    values, lengths, logits, sizes, overlaps = [], [], [], [], []
    for case, expected, found in zip(cases, baseline, other, strict=True):
        difference = found - expected
        values.append(float(difference.abs().max()))
        lengths.append(float(difference.norm() / expected.norm()))
        for point in case.points:
            label = torch.ones(1, 1, dtype=torch.long, device=point.device)
            cells = 3 * (model.config.low_res_size,)
            mask = torch.zeros(1, 1, *cells, device=point.device)
            prompts = PromptTensors3d(point, label, mask)
            left, right = (model.decode(one, prompts)[0] for one in (expected, found))
            logits.append(float((left - right).abs().max()))
            sizes.append(float(left.abs().max()))
            large = [upsample_logits3d(one, model.config.image_size) > 0 for one in (left, right)]
            overlaps.append(dice(large[0].cpu().numpy(), large[1].cpu().numpy()))
    return Agreement.of(values, lengths, logits, sizes, overlaps)


def _encoder(modeling: ModuleType, model: Sam3d) -> nn.Module:
    """The original's encoder in the shapes of a network (its build_sam3D.py)."""
    config = model.config
    encoder: nn.Module = modeling.ImageEncoderViT3D(
        depth=config.depth,
        embed_dim=config.embed_dim,
        img_size=config.image_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=config.num_heads,
        patch_size=config.patch_size,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=config.global_attention,
        window_size=config.window_size,
        out_chans=config.prompt_dim,
    )
    return encoder
