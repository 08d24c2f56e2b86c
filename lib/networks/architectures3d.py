"""The sizes of every network for volumes, as frozen records; see `lib.networks.architectures`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lib.errors import OptionError
from lib.networks.architectures import ARCHITECTURES, Architecture

Positions = Literal["released", "corrected"]
"""How positions enter: as in the code that the published weights were trained with, which mixes
up axes in two places, or as they were meant."""


@dataclass(frozen=True)
class Architecture3d:
    """Shapes and preparation of one SAM-Med3D.

    Attributes:
        name: the name under which it is served and stored.
        embed_dim, depth, num_heads: width, blocks and heads of the ViT encoder.
        global_attention: indices of the blocks that attend over the whole grid; the others
            attend inside windows of ``window_size`` tokens along each axis.
        image_size: edge of the cube that is encoded, in voxels.
        spacing: edge of such a voxel in mm.
        prompt_dim: channels of the embedding (B, prompt_dim, 8, 8, 8) and of prompt tokens; a
            multiple of 3, as positions are [sin, cos, sin] of a third each.
        decoder_depth, decoder_heads, decoder_mlp_dim: two-way transformer of the mask decoder.
        iou_hidden_dim: width of the head that predicts the IoU.
        relative_position: axes of the attention's relative positions.
        dense_encoding: axes of the positions of the embedding's cells.
        stem: channels of the convolutional stem after its first three halvings; None: one
            projection of patches. See `lib.networks.stem3d`.
        detail_channels: K of the details that a stem keeps for the mask decoder; the prompts are
            then drawn as maps as well. They travel behind the embedding's channels.
    """

    name: str
    embed_dim: int
    depth: int
    num_heads: int
    global_attention: tuple[int, ...]
    window_size: int = 14
    image_size: int = 128
    patch_size: int = 16
    spacing: float = 1.5
    prompt_dim: int = 384
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    iou_head_depth: int = 3
    iou_hidden_dim: int = 256
    mask_channels: int = 16
    multimask_outputs: int = 3
    relative_position: Positions = "released"
    dense_encoding: Positions = "released"
    stem: tuple[int, int, int] | None = None
    detail_channels: int = 0

    @property
    def grid_size(self) -> int:
        """Tokens along one edge of the cube: image_size / patch_size."""
        return self.image_size // self.patch_size

    @property
    def embedding_channels(self) -> int:
        """Channels of what the encoder gives: the embedding, and packed details behind it."""
        return self.prompt_dim + 64 * self.detail_channels

    @property
    def embedding_bytes(self) -> int:
        """Bytes of one encoded cube in float32."""
        return 4 * self.embedding_channels * self.grid_size**3

    @property
    def low_res_size(self) -> int:
        """Edge length in voxels of the decoder's masks and of mask prompts: 4 x grid_size."""
        return 4 * self.grid_size


ARCHITECTURES3D: dict[str, Architecture3d] = {
    a.name: a
    for a in (
        Architecture3d("sammed3d_b", 768, 12, 12, (2, 5, 8, 11)),
        Architecture3d(
            "sammed3d_t",
            embed_dim=144,
            depth=4,
            num_heads=6,
            global_attention=(0, 1, 2, 3),
            prompt_dim=96,
            decoder_mlp_dim=384,
            iou_hidden_dim=96,
            relative_position="corrected",
            dense_encoding="corrected",
            stem=(12, 24, 48),
            detail_channels=12,
        ),
    )
}


def find_architecture3d(name: str) -> Architecture3d:
    """Look an architecture for volumes up by name.

    Raises:
        OptionError: no architecture has that name.
    """
    if name not in ARCHITECTURES3D:
        raise OptionError(
            got=f"architecture {name!r}",
            allowed=", ".join(ARCHITECTURES3D),
            todo="choose one of these names",
        )
    return ARCHITECTURES3D[name]


def find_any_architecture(name: str) -> Architecture | Architecture3d:
    """Look up an architecture for slices or for volumes.

    Raises:
        OptionError: with all names there are.
    """
    check_architecture(name)
    return ARCHITECTURES3D[name] if name in ARCHITECTURES3D else ARCHITECTURES[name]


def check_architecture(name: str) -> None:
    """Refuse a name that no network has, whether of slices or of volumes.

    Raises:
        OptionError: with all names there are.
    """
    known = (*ARCHITECTURES, *ARCHITECTURES3D)
    if name not in known:
        raise OptionError(
            got=f"architecture {name!r}",
            allowed=", ".join(known),
            todo="choose one of these names",
        )
