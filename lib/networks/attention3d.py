"""Attention over a cube of tokens with decomposed relative positions, padding summed up exactly.

SAM-Med3D pads its 8 x 8 x 8 tokens to windows of 14 x 14 x 14: 2744 tokens, of which 2232 are
padding. All of these are zero before the projections, so they share one key and one value, and
differ only in their terms of relative position, which are sums of terms of single axes. So each
real token sees the padding as one more key, whose weight is the logarithm of the summed
exponentials of those terms; it factors into sums along axes. Tokens of the padding are never asked
for. What comes out equals the long way but for rounding, with a fiftieth of its arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.networks.architectures3d import Positions
from lib.networks.fast_attention import log_sum_exp


class Attention3d(nn.Module):
    """Multi-head attention of SAM-Med3D; names of parameters as in its state dict.

    With q the query before scaling, (d, h, w) the place of a query, (D, H, W) that of a key and
    Rd, Rh, Rw the tables by difference of places, "corrected" adds to the product of query and key

        q[d,h,w] Rd[d,D] + q[d,h,w] Rh[h,H] + q[d,h,w] Rw[w,W]

    and "released", what the published weights were trained with,

        q[d,h,w] Rd[d,W] + q[d,h,D] Rh[h,W] + q[d,h,H] Rw[H,W].

    Args:
        dim: channels C of the tokens.
        num_heads: heads.
        window: tokens along one edge of the cube, padding included.
        positions: which of the two.
    """

    def __init__(self, dim: int, num_heads: int, window: int, positions: Positions) -> None:
        super().__init__()
        self.num_heads, self.window, self.positions = num_heads, window, positions
        depth = dim // num_heads
        self.scale = depth**-0.5
        self.rel_pos_d = nn.Parameter(torch.zeros(2 * window - 1, depth))
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * window - 1, depth))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * window - 1, depth))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        places = torch.arange(window)
        distance = places[:, None] - places[None, :] + window - 1
        self.distance: Tensor
        self.register_buffer("distance", distance, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend within cubes of tokens (B, n, n, n, C) to the same shape, n at most ``window``.

        Cubes with n below ``window`` count as padded with zeros at the far end of each axis.
        """
        batch, side, _, _, channels = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, side**3, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        # What zeros become: (heads, 1, D) each.
        pad_query, pad_key, pad_value = self.qkv.bias.reshape(3, self.num_heads, 1, -1).unbind(0)
        cube = query.reshape(batch, self.num_heads, side, side, side, -1)
        bias, padding = (
            self._released(cube, pad_query)
            if self.positions == "released"
            else self._corrected(cube)
        )
        bias = bias.reshape(batch, self.num_heads, side**3, side**3)
        if padding is not None:
            key = torch.cat((key, pad_key.expand(batch, -1, -1, -1)), dim=2)
            value = torch.cat((value, pad_value.expand(batch, -1, -1, -1)), dim=2)
            bias = torch.cat((bias, padding.reshape(*bias.shape[:3], 1)), dim=3)
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=self.scale
        )
        attended = attended.transpose(1, 2).reshape(batch, side, side, side, channels)
        result: Tensor = self.proj(attended)
        return result

    def _corrected(self, query: Tensor) -> tuple[Tensor, Tensor | None]:
        """Terms of position for queries (B, heads, n, n, n, D).

        Returns:
            (B, heads, n, n, n, n, n, n) for the real keys, and (B, heads, n, n, n) for the padding
            as one key, None where there is none.
        """
        side = query.shape[2]
        by_d, by_h, by_w = (
            torch.einsum(f"bndhwc,{axis}kc->bndhwk", query, table[self.distance[:side]])
            for axis, table in zip("dhw", self._tables, strict=True)
        )
        bias = (
            by_d[..., :side, None, None]
            + by_h[..., None, :side, None]
            + by_w[..., None, None, :side]
        )
        if side == self.window:
            return bias, None
        (real_d, pad_d), (real_h, pad_h) = _sums(by_d, side), _sums(by_h, side)
        pad_w, all_w, all_h = _sums(by_w, side)[1], log_sum_exp(by_w), log_sum_exp(by_h)
        # Beyond the grid in the first axis; else in the second; else in the third.
        parts = (pad_d + all_h + all_w, real_d + pad_h + all_w, real_d + real_h + pad_w)
        return bias, log_sum_exp(torch.stack(parts, dim=-1))

    def _released(self, query: Tensor, pad_query: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `_corrected`, with the axes of the published weights.

        Args:
            query: (B, heads, n, n, n, D).
            pad_query: (heads, 1, D), that of every token of the padding.
        """
        batch, heads, side = query.shape[:3]
        table_d, table_h, table_w = (table[self.distance] for table in self._tables)
        line = query
        if side < self.window:
            beyond = pad_query[:, None, None].expand(
                batch, heads, side, side, self.window - side, -1
            )
            line = torch.cat((query, beyond), dim=4)
        # By place W of the key: for each query; by its D; and by its H.
        own = torch.einsum("bndhwc,dkc->bndhwk", query, table_d[:side])
        by_d = torch.einsum("bndhac,hkc->bndhak", line, table_h[:side])
        by_h = torch.einsum("bndhac,akc->bndhak", line, table_w)
        plane = by_d[..., :side, None, :side] + by_h[..., None, :side, :side]
        bias = own[..., None, None, :side] + plane[:, :, :, :, None]
        if side == self.window:
            return bias, None
        along_d, along_h = by_d.transpose(-1, -2), by_h.transpose(-1, -2)
        real_d, pad_d = _sums(along_d, side)
        _, pad_h = _sums(along_h, side)
        all_d, all_h = log_sum_exp(along_d), log_sum_exp(along_h)
        # Places W of the grid are padding where D or H are beyond it; other places always are.
        parts = torch.stack((pad_d + all_h, real_d + pad_h), dim=-1)
        within = log_sum_exp(parts)[..., :side]
        padded = torch.cat((within, (all_d + all_h)[..., side:]), dim=-1)
        return bias, log_sum_exp(own + padded[:, :, :, :, None])

    @property
    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.rel_pos_d, self.rel_pos_h, self.rel_pos_w


def _sums(terms: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over the last axis: of its first ``side`` places, and of those after them."""
    return log_sum_exp(terms[..., :side]), log_sum_exp(terms[..., side:])
