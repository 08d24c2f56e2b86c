"""The sizes of every network this project can build, as frozen records.

An architecture fixes the shapes of all tensors and how an image must be prepared for them; it
holds no weights. Adding a model of the same family is one more record here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lib.errors import OptionError

AdapterKind = Literal["samed2d", "medsa"]
"""Whose adapters are added to the blocks of the image encoder."""

Conditioning = Literal["none", "plain", "additive", "hyp"]
"""What adapters in the mask decoder know of the prompt; none: there are no such adapters."""

SAM_PIXEL_MEAN = (123.675, 116.28, 103.53)
SAM_PIXEL_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of 8 bit RGB images that SAM was trained with (ImageNet's)."""


@dataclass(frozen=True)
class Architecture:
    """Shapes and preparation of one adapter-SAM (SAM-Med2D, section 3.2; Med-SA, section 3).

    Attributes:
        name: the name under which it is served and stored.
        embed_dim, depth, num_heads: width, blocks and heads of the ViT image encoder.
        global_attention: indices of the blocks that attend over the whole grid; the others
            attend inside windows of ``window_size`` tokens.
        prompt_dim: channels of the embedding (B, prompt_dim, 16, 16) and of prompt tokens.
        decoder_depth, decoder_heads, decoder_mlp_dim: two-way transformer of the mask decoder.
        iou_hidden_dim: width of the head that predicts the IoU.
        rate_all_masks: let the decoder's single answer compete with its three candidates for the
            best predicted IoU; the published networks choose among the three.
        blend: how far behind the best predicted IoU a mask still counts in the one that is shown,
            see `lib.networks.sam.blend_masks`; None: the best one alone, as SAM has it.
        stem: channels of the convolutional stem after its first three halvings; None: one
            projection of patches, as SAM has it. See `lib.networks.stem`.
        detail_channels: K of the details that a stem keeps for the mask decoder; the prompts are
            then drawn as maps as well. They travel behind the embedding's channels.
        resize: how an image is brought to ``image_size``: "nearest" as the published recipe
            does, "area" (antialiased) in ours.
        intensity: how native intensities become 8 bit unless the caller says otherwise;
            "auto" in our recipe. See `lib.imaging.intensity`.
        adapters: of each block of the image encoder: SAM-Med2D's convolutions
            (`lib.networks.adapters`), Med-SA's bottlenecks (`lib.networks.medsa`), or both. The
            last kind learns; others belong to the base.
        adapter_ratio: share of the channels in the bottlenecks of Med-SA's adapters.
        decoder_adapters: see `lib.networks.prompt_adapter.PromptAdapter`.
        base: architecture whose weight file this one starts from; its own adapters then add
            nothing. None: it has a file of its own.
    """

    name: str
    embed_dim: int
    depth: int
    num_heads: int
    global_attention: tuple[int, ...]
    window_size: int = 14
    image_size: int = 256
    patch_size: int = 16
    prompt_dim: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    iou_head_depth: int = 3
    iou_hidden_dim: int = 256
    mask_channels: int = 16
    multimask_outputs: int = 3
    rate_all_masks: bool = False
    blend: float | None = None
    stem: tuple[int, int, int] | None = None
    detail_channels: int = 0
    resize: Literal["nearest", "area"] = "nearest"
    intensity: str = "auto"
    adapters: tuple[AdapterKind, ...] = ("samed2d",)
    adapter_ratio: float = 0.25
    decoder_adapters: Conditioning = "none"
    base: str | None = None

    @property
    def grid_size(self) -> int:
        """Tokens along one edge of the image: image_size / patch_size."""
        return self.image_size // self.patch_size

    @property
    def embedding_channels(self) -> int:
        """Channels of what the encoder gives: the embedding, and packed details behind it."""
        return self.prompt_dim + 16 * self.detail_channels

    @property
    def embedding_bytes(self) -> int:
        """Bytes of the encoded image in float32."""
        return 4 * self.embedding_channels * self.grid_size**2

    @property
    def low_res_size(self) -> int:
        """Edge length in pixels of the decoder's masks and of mask prompts: 4 x grid_size."""
        return 4 * self.grid_size


PAPER_RATIO = 1 / 25
"""Of Med-SA's bottlenecks: the adapters are 2 % of the network, as the paper has it.

The public code has 1/4 and with it 10 %; docs/explanation/medical-sam-adapter.md has the counts.
"""

_COMPACT = Architecture(
    "samed2d_t",
    embed_dim=192,
    depth=6,
    num_heads=4,
    global_attention=(0, 1, 2, 3, 4, 5),
    prompt_dim=128,
    decoder_mlp_dim=512,
    iou_hidden_dim=128,
    rate_all_masks=True,
    blend=0.03,
    stem=(24, 48, 96),
    detail_channels=16,
    resize="area",
)
_VIT = (
    Architecture("samed2d_b", 768, 12, 12, (2, 5, 8, 11)),
    Architecture("samed2d_l", 1024, 24, 16, (5, 11, 17, 23)),
    Architecture("samed2d_h", 1280, 32, 16, (7, 15, 23, 31)),
)

ARCHITECTURES: dict[str, Architecture] = {
    a.name: a
    for a in (
        *_VIT,
        _COMPACT,
        *(
            replace(
                a,
                name=a.name.replace("samed2d", "medsa"),
                adapters=("medsa",),
                adapter_ratio=PAPER_RATIO,
                decoder_adapters="hyp",
            )
            for a in _VIT
        ),
        replace(
            _COMPACT,
            name="medsa_t",
            adapters=("samed2d", "medsa"),
            decoder_adapters="hyp",
            base="samed2d_t",
        ),
    )
}


def find_architecture(name: str) -> Architecture:
    """Look an architecture up by name.

    Raises:
        OptionError: no architecture has that name.
    """
    if name not in ARCHITECTURES:
        raise OptionError(
            got=f"architecture {name!r}",
            allowed=", ".join(ARCHITECTURES),
            todo="choose one of these names",
        )
    return ARCHITECTURES[name]
