"""SAM's attention without the padding of its windows.

SAM cuts the grid of tokens into windows of 14 x 14 and pads what is too small. At 1024 pixels
little is padded; at 256 a grid of 16 x 16 becomes 28 x 28, and two tokens of three are padding.
A padded token is zero before the attention's linear layer, so its key and its value are the bias
of that layer, whatever the image: all padded keys of a window differ only by their position. They
are computed here as one key, whose weight is the sum of theirs (a log-sum-exp over the relative
positions), and with the bias as its value. Nothing is left out and nothing is approximated.

To train, the distance terms are not added to the products of queries and keys but are part of
them: a query is followed by its terms for all rows and columns, a key by ones for its own row and
column. Then no matrix of all pairs of tokens has to be kept for the way back.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn
from torch.nn import functional

NEVER = -1e9
"""Added to a distance term it leaves nothing of its exponential, in bfloat16 too."""

_MULTIPLE = 8
"""Lengths of queries and keys that fast kernels want."""


class FastAttention(nn.Module):
    """Attention with decomposed relative positions, inside windows or over the whole grid.

    Windows that fit the grid are rows of a batch. Windows that do not are one attention over the
    grid in which tokens of other windows are masked, with one more key for the padding: at 16 x 16
    tokens attention is next to nothing beside its linear layers, and cutting costs more.

    Args:
        attention: of a block.
        window_size: tokens along one edge of a window, 0 for the whole grid.
        grid: tokens along one edge of the grid.
        trainable: compute everything from the parameters at each call, see
            `lib.networks.fast_encoder.FastEncoder`.
    """

    def __init__(
        self, attention: Attention, window_size: int, grid: int, trainable: bool = False
    ) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.scale: float = attention.scale
        self.qkv: nn.Linear = attention.qkv
        self.proj: nn.Linear = attention.proj
        window = window_size or grid
        fits = grid % window == 0
        self.part = window if fits else grid
        self.padded = not fits
        # Where in its window each token of an axis is.
        place = torch.arange(self.part) % window
        self.positions = _Positions(attention, place, trainable)
        self.trainable = trainable
        self.place: torch.Tensor
        self._constant("place", place)
        if self.padded:
            block = torch.arange(grid) // window
            same = (block[:, None] == block[None, :]).float()
            together = same[:, None, :, None] * same[None, :, None, :]
            self.other_window: torch.Tensor
            self._constant("other_window", (1 - together.reshape(grid**2, grid**2)) * NEVER)
            # (token, place): whether the place is beyond the grid in the window of the token.
            beyond = (block[:, None] * window + torch.arange(window)[None, :] >= grid).float()
            self.if_padded: torch.Tensor
            self.if_real: torch.Tensor
            self._constant("if_padded", (1 - beyond) * NEVER)
            self._constant("if_real", beyond * NEVER)
        if trainable:
            self.where: torch.Tensor
            self._constant("where", self._where(window, attention.qkv.in_features // self.heads))

    def _constant(self, name: str, value: torch.Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, H, W, C) to tokens of the same shape."""
        batch, height, width, channels = tokens.shape
        parts, part = height // self.part, self.part
        if parts > 1:
            tokens = tokens.reshape(batch, parts, part, parts, part, channels)
            tokens = tokens.transpose(2, 3).reshape(-1, part, part, channels)
        attended = self._attend(self.qkv(tokens))
        if parts > 1:
            attended = attended.reshape(batch, parts, parts, part, part, channels).transpose(2, 3)
        result: torch.Tensor = self.proj(attended.reshape(batch, height, width, channels))
        return result

    def _attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """Attention inside one part: (B, n, n, 3 C) to (B, n * n, C)."""
        batch, side, tokens = qkv.shape[0], self.part, self.part**2
        qkv = qkv.reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        # Distance terms (B, heads, n, n, window): of the whole window, padding too.
        squared = query.reshape(batch, self.heads, side, side, -1)
        rows, columns = self.positions()
        by_row = squared @ rows
        by_column = (squared.transpose(2, 3) @ columns).transpose(2, 3)
        padding = None
        if self.padded:
            padding = self._padding_weight(by_row, by_column)
            depth = query.shape[-1]
            _, pad_key, pad_value = self.qkv.bias.reshape(3, 1, self.heads, 1, depth).unbind(0)
            key = torch.cat((key, pad_key.expand(batch, -1, -1, -1)), dim=2)
            value = torch.cat((value, pad_value.expand(batch, -1, -1, -1)), dim=2)
        combine = self._with_long_queries if self.trainable else self._with_bias
        attended = combine(query, key, value, by_row, by_column, padding)
        return attended.transpose(1, 2).reshape(batch, tokens, -1)

    def _with_bias(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        by_row: torch.Tensor,
        by_column: torch.Tensor,
        padding: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attention with distance terms added to the products of queries and keys.

        Args:
            query: (B, heads, n * n, D).
            key: (B, heads, n * n, D), one more where there is padding.
            value: as ``key``.
            by_row: (B, heads, n, n, window) distance terms for the rows of the window.
            by_column: as ``by_row``, for its columns.
            padding: (B, heads, n * n, 1) weight of the padding, None where there is none.

        Returns:
            (B, heads, n * n, D).
        """
        if padding is not None:
            by_row, by_column = by_row[..., self.place], by_column[..., self.place]
        bias = by_row[..., :, None] + by_column[..., None, :]
        bias = bias.reshape(*query.shape[:3], -1)
        if padding is not None:
            bias = torch.cat((bias + self.other_window, padding), dim=3)
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=self.scale
        )

    def _with_long_queries(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        by_row: torch.Tensor,
        by_column: torch.Tensor,
        padding: torch.Tensor | None,
    ) -> torch.Tensor:
        """As `_with_bias`, with the distance terms inside the products."""
        batch, depth = query.shape[0], query.shape[-1]
        terms = [by_row.flatten(2, 3), by_column.flatten(2, 3)]
        if padding is not None:
            terms.append(padding)
        query = torch.cat((query * self.scale, *terms), dim=3)
        length = depth + self.where.shape[1]
        query = functional.pad(query, (0, length - query.shape[-1]))
        key = torch.cat((key, self.where.to(key.dtype).expand(batch, self.heads, -1, -1)), dim=3)
        value = functional.pad(value, (0, length - depth))
        mask = functional.pad(self.other_window, (0, 1)).to(query.dtype) if self.padded else None
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=1.0
        )
        return attended[..., :depth]

    def _where(self, window: int, depth: int) -> torch.Tensor:
        """What follows each key: (n * n, L), one row more for padding; see `_with_long_queries`.

        Ones at its row and at its column of the window, or at the place after both for padding;
        then zeros, so that depth + L is a multiple of 8.
        """
        rows, columns = torch.meshgrid(self.place, self.place, indexing="ij")
        where = torch.cat(
            [functional.one_hot(axis.flatten(), window) for axis in (rows, columns)], dim=1
        ).float()
        if self.padded:
            where = functional.pad(where, (0, 1, 0, 1))
            where[-1, -1] = 1
        return functional.pad(where, (0, -(depth + where.shape[1]) % _MULTIPLE))

    def _padding_weight(self, by_row: torch.Tensor, by_column: torch.Tensor) -> torch.Tensor:
        """Log-sum-exp of the distance terms over all padded positions of each token's window.

        Padding is below the real rows (all columns) and to the right of the real columns (real
        rows).

        Args:
            by_row: (B, heads, n, n, window), for every row of the window.
            by_column: as ``by_row``, for every column.

        Returns:
            (B, heads, n * n, 1); about -1e9 where the window has no padding.
        """
        padded_rows = log_sum_exp(by_row + self.if_padded[:, None])
        real_rows = log_sum_exp(by_row + self.if_real[:, None])
        padded_columns = log_sum_exp(by_column + self.if_padded)
        all_columns = log_sum_exp(by_column)
        parts = torch.stack((padded_rows + all_columns, real_rows + padded_columns), dim=-1)
        return log_sum_exp(parts).reshape(*parts.shape[:2], -1, 1)


def log_sum_exp(terms: torch.Tensor) -> torch.Tensor:
    """Log of the sum of exponentials over the last axis.

    Written out: OpenVINO's version of torch's function does not subtract the maximum first.
    """
    highest = terms.amax(dim=-1, keepdim=True)
    total = torch.exp(terms - highest).sum(dim=-1)
    return torch.log(total) + highest.squeeze(-1)


class _Positions(nn.Module):
    """Relative positions of both axes, ready for a matrix product.

    Args:
        attention: whose tables (2 n - 1, D), by distance 1 - n .. n - 1, are used.
        place: (m,) where in its window each token of an axis is.
        trainable: see `FastEncoder`.
    """

    def __init__(self, attention: Attention, place: torch.Tensor, trainable: bool) -> None:
        super().__init__()
        reach = (len(attention.rel_pos_h) + 1) // 2
        distance = place[:, None] - torch.arange(reach)[None, :] + reach - 1
        self.register_buffer("distance", distance.to(attention.rel_pos_h.device), persistent=False)
        self.distance: torch.Tensor
        tables = (attention.rel_pos_h, attention.rel_pos_w)
        self.tables = nn.ParameterList(tables) if trainable else None
        if not trainable:
            for name, table in zip(("rows", "columns"), tables, strict=True):
                self.register_buffer(name, self._spread(table.detach()), persistent=False)
        self.rows: torch.Tensor
        self.columns: torch.Tensor

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """For rows and for columns: (m, D, n), of token, channel, place of the key."""
        if self.tables is None:
            return self.rows, self.columns
        rows, columns = self.tables
        return self._spread(rows), self._spread(columns)

    def _spread(self, table: torch.Tensor) -> torch.Tensor:
        return table[self.distance].transpose(1, 2).contiguous()
