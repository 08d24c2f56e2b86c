"""SAM's mask decoder with its upscaling as matrix products.

The decoder enlarges the image fourfold by two transposed convolutions of kernel and stride 2. No
two pixels of their output share an input pixel, so each is one matrix product for every token; the
pixels need not even be in their places until the masks are: a mask is a product over channels.
Channels stay last all the way, which is also what normalisation and products are fastest with. On
a CPU torch takes several times as long for the convolutions, above all for their gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional


def predict_masks(
    decoder: MaskDecoder,
    image_embeddings: Tensor,
    image_pe: Tensor,
    sparse: Tensor,
    dense: Tensor,
    refine: Callable[[Tensor], Tensor] | None = None,
    rate: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """What ``decoder.predict_masks`` computes; rows may also belong to several images.

    Args:
        decoder: with the parameters.
        image_embeddings: (1, C, h, w), shared by all rows, or (R, C, h, w), one for each row.
        image_pe: (1, C, h, w) positions of the image's tokens.
        sparse: (R, N, C) prompt tokens.
        dense: (R, C, h, w) what masks add to the image.
        refine: changes the enlarged tokens (R, C/8, 4h, 4w) before masks are read off them.
        rate: what masks (R, 4, 4h, 4w), those enlarged tokens and the answers (R, 1 + 4, C) add to
            the predicted IoU (R, 4); only together with ``refine``.

    Returns:
        Logits (R, 4, 4h, 4w), the single mask first, and predicted IoU (R, 4).
    """
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat((own.expand(len(sparse), -1, -1), sparse), dim=1)
    image = image_embeddings + dense
    answers, seen = decoder.transformer(image, image_pe.expand_as(image), tokens)
    masks = [head(answers[:, 1 + n]) for n, head in enumerate(decoder.output_hypernetworks_mlps)]
    pixels = _upscaled(decoder.output_upscaling, seen)
    iou: Tensor = decoder.iou_prediction_head(answers[:, 0])
    if refine is None:
        return _in_place(pixels @ torch.stack(masks, dim=2), *image.shape[2:]), iou
    refined = refine(_in_place(pixels, *image.shape[2:]))
    logits = torch.einsum("rmc,rchw->rmhw", torch.stack(masks, dim=1), refined)
    if rate is not None:
        iou = iou + rate(logits, refined, answers[:, : 1 + len(masks)])
    return logits, iou


def _upscaled(upscaling: nn.Sequential, tokens: Tensor) -> Tensor:
    """Tokens (R, h * w, C) to pixels (R, h * w * 4 * 4, C / 8): those of a token together.

    The 16 pixels of a token are ordered by row and column of the first enlargement, then by row
    and column of the second.
    """
    first, norm, activation, second, last = upscaling
    assert isinstance(norm, LayerNorm2d)
    tokens = _enlarged(cast(nn.ConvTranspose2d, first), tokens)
    # LayerNorm2d normalises over channels, at each pixel.
    tokens = functional.layer_norm(tokens, norm.weight.shape, norm.weight, norm.bias, norm.eps)
    tokens = activation(tokens)
    pixels: Tensor = last(_enlarged(cast(nn.ConvTranspose2d, second), tokens))
    return pixels


def _enlarged(convolution: nn.ConvTranspose2d, tokens: Tensor) -> Tensor:
    """Tokens (R, n, in) to (R, n * 2 * 2, out)."""
    assert convolution.bias is not None
    # (in, out, 2, 2) -> (2 * 2 * out, in), as a linear layer has it.
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    enlarged = functional.linear(tokens, weight, convolution.bias.repeat(4))
    return enlarged.reshape(len(tokens), -1, convolution.out_channels)


def _in_place(values: Tensor, height: int, width: int) -> Tensor:
    """Values (R, h * w * 4 * 4, M), ordered as `_upscaled` says, to (R, M, 4h, 4w)."""
    rows, _, masks = values.shape
    values = values.reshape(rows, height, width, 2, 2, 2, 2, masks)
    return values.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(rows, masks, 4 * height, 4 * width)
