"""A network for larger cubes with what one for smaller cubes has learned.

A compact network learns most of what it knows from small cubes, at a fraction of the time. Three
things in it depend on the cube's edge: positions of tokens are stretched, relative positions too,
and the frequencies of clicks are kept for a voxel, not for the whole cube.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn import functional

from lib.networks.sam3d import Sam3d, build_sam3d


def enlarged(model: Sam3d, size: int) -> Sam3d:
    """The same network for cubes of ``size`` voxels.

    Args:
        model: for cubes of any other edge; stays as it is.
        size: a multiple of the patch size.
    """
    larger = build_sam3d(replace(model.config, image_size=size))
    ratio = size / model.config.image_size
    grid = larger.config.grid_size
    own = larger.state_dict()
    state = {}
    for name, tensor in model.state_dict().items():
        if name == "image_encoder.pos_embed":
            places = tensor.movedim(-1, 1)
            places = functional.interpolate(
                places, 3 * (grid,), mode="trilinear", align_corners=False
            )
            tensor = places.movedim(1, -1)
        elif ".rel_pos_" in name and tensor.shape != own[name].shape:
            tensor = _stretched(tensor, len(own[name]))
        elif name.endswith("positional_encoding_gaussian_matrix"):
            tensor = tensor * ratio
        state[name] = tensor
    larger.load_state_dict(state)
    return larger


def _stretched(table: Tensor, length: int) -> Tensor:
    """Rows (n, C) of distances from -m to m as (length, C), over the same span of the cube."""
    rows = functional.interpolate(table.T[None], length, mode="linear", align_corners=True)
    return rows[0].T
