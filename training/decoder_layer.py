"""A layer of the transformer decoder, as it trains, makes one step, or reads a tree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Coverage(nn.Module):
    """How much past attention raises or lowers the score of a cell.

    After CoMER (Zhao and Gao, 2022, arXiv:2207.04410), but pointwise: where memory is only the
    cells with ink, there is no grid to convolve over. The coverage is that of the layer below,
    whose attention at the present step is known too.
    """

    def __init__(self, heads: int, hidden: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(2 * heads, hidden)
        self.second = nn.Linear(hidden, heads)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, past: Tensor, present: Tensor) -> Tensor:
        """past, present [b, heads, t, cells] -> score [b, heads, t, cells]"""
        # the heads are mixed by products from the left, which need no transposition; of one image
        # they are plain ones, with which a runtime merges the sums
        both = torch.cat([past, present], dim=1)
        if len(both) == 1:
            both = both.reshape(both.shape[1], -1)
            hidden = torch.relu(self.first.weight @ both + self.first.bias[:, None])
            score = self.second.weight @ hidden + self.second.bias[:, None]
        else:
            score = _mixed(self.second, torch.relu_(_mixed(self.first, both.flatten(2))))
        return score.reshape(past.shape)


def _mixed(linear: nn.Linear, x: Tensor) -> Tensor:
    """x [b, inputs, n] -> [b, outputs, n], each image's in one product: of a plain `weight @ x`
    torch makes one product of all, and turns and copies what goes in and comes out."""
    return torch.baddbmm(linear.bias[:, None], linear.weight.expand(len(x), -1, -1), x)


def past_attention(attention: Tensor) -> Tensor:
    """[b, heads, directions, t, cells] -> [b, heads, directions * t, cells], the sum of the
    attention of all steps before. As a product, it is one pass over a large tensor, and one back,
    in place of six."""
    images, heads, _, steps, cells = attention.shape
    rows = attention.reshape(-1, steps, cells)
    before = torch.ones(steps, steps, dtype=rows.dtype, device=rows.device).tril(-1)
    return (before.expand(len(rows), -1, -1) @ rows).reshape(images, heads, -1, cells)


def attention_of(scores: Tensor) -> Tensor:
    """The softmax over the last axis, in the precision of the scores: automatic mixed precision
    would write float32, the largest tensors of a training in twice their size."""
    with torch.autocast(scores.device.type, enabled=False):
        return torch.softmax(scores, dim=-1)


class DecoderLayer(nn.Module):
    """Self attention, cross attention with coverage, feed-forward; normalised before each."""

    def __init__(
        self, features: int, heads: int, hidden: int, dropout: float, covered: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.width = features // heads
        self.scale = self.width**-0.5
        self.self_norm = nn.LayerNorm(features)
        self.self_qkv = nn.Linear(features, 3 * features)
        self.self_out = nn.Linear(features, features)
        self.cross_norm = nn.LayerNorm(features)
        self.cross_query = nn.Linear(features, features)
        self.cross_out = nn.Linear(features, features)
        self.coverage = Coverage(heads) if covered else None
        self.feed_norm = nn.LayerNorm(features)
        self.feed_in = nn.Linear(features, hidden)
        self.feed_out = nn.Linear(hidden, features)
        self.dropout = nn.Dropout(dropout)

    def fold_scale(self) -> None:
        """Have the weights of the queries, from now on, do what scaling the scores does."""
        queries = self.cross_query.out_features
        with torch.no_grad():
            for linear in (self.self_qkv, self.cross_query):
                linear.weight[:queries] *= self.scale
                linear.bias[:queries] *= self.scale
        self.scale = 1.0

    def attend_self(self, x: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Add to x [n, d] what the tokens before it say.

        Args:
            shapes: rows and tokens of each part of x, which stand one after the other.
        """
        projected = self.self_qkv(self.self_norm(x)).unflatten(-1, (3 * self.heads, -1))
        mixed = []
        sizes = [rows * steps for rows, steps in shapes]
        for part, shape in zip(projected.split(sizes), shapes, strict=True):
            query, key, value = part.unflatten(0, shape).transpose(1, 2).split(self.heads, dim=1)
            each = functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=self.scale
            )
            mixed.append(each.transpose(1, 2).flatten(2).flatten(0, 1))
        added: Tensor = self.dropout(self.self_out(torch.cat(mixed)))
        return x + added

    def tree_self(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All nodes of a tree: add to x [n, d] what those on their paths say; bias [n, n] masks the
        others.

        Returns:
            x, and the nodes' keys and values, [n, heads, d/heads].
        """
        parts = self.self_qkv(self.self_norm(x)).reshape(-1, 3 * self.heads, self.width)
        query, key, value = parts.split(self.heads, dim=1)
        scores = query.transpose(0, 1) @ key.permute(1, 2, 0) * self.scale + bias
        mixed = torch.softmax(scores, dim=-1) @ value.transpose(0, 1)
        added: Tensor = self.self_out(mixed.transpose(0, 1).flatten(1))
        return x + added, key, value

    def step_self(
        self, x: Tensor, keys: Tensor, values: Tensor, position: Tensor, later: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token: add to x [b, d] what the tokens before it say.

        Args:
            keys, values: caches [length, b, heads, d/heads].
            position: int64 [1], where this token is in them.
            later: [length], masks the tokens after it.

        Returns:
            x, and the caches with the row of this token.
        """
        parts = self.self_qkv(self.self_norm(x)).reshape(1, -1, 3 * self.heads, keys.shape[-1])
        query, key, value = parts.split(self.heads, dim=2)
        keys, values = keys.index_put((position,), key), values.index_put((position,), value)
        # a runtime takes these turns into the products, which see [b, heads, 1 or length, d/heads]
        scores = query.permute(1, 2, 0, 3) @ keys.permute(1, 2, 3, 0) * self.scale + later
        mixed = torch.softmax(scores, dim=-1) @ values.permute(1, 2, 0, 3)
        added: Tensor = self.self_out(mixed.reshape(-1, x.shape[-1]))
        return x + added, keys, values

    def cross_queries(self, x: Tensor) -> Tensor:
        """x [n, d] -> [n, d], what they ask of the memory"""
        query: Tensor = self.cross_query(self.cross_norm(x))
        scaled: Tensor = query * self.scale
        return scaled

    def cross_scores(self, query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        """query [b * t, d], key [b, heads, cells, d/heads], bias [b, cells] -> [b, heads, t,
        cells]"""
        if len(key) == 1:  # a turn that a runtime takes into the product
            query = query.reshape(-1, 1, self.heads, key.shape[-1]).permute(1, 2, 0, 3)
        else:
            query = query.reshape(len(key), -1, self.heads, key.shape[-1]).transpose(1, 2)
        scores: Tensor = query @ key.transpose(-1, -2)
        return scores + bias[:, None, None].to(scores.dtype)

    def cross_read(self, attention: Tensor, value: Tensor) -> Tensor:
        """attention [b, heads, t, cells], value [b, heads, cells, d/heads] -> [b * t, d]"""
        mixed = (attention @ value).transpose(1, 2)
        return mixed.reshape(-1, self.heads * self.width)

    def attend_cross(self, x: Tensor, read: Tensor) -> Tensor:
        """Add to x [n, d] what was read from the memory, [n, d]."""
        added: Tensor = self.dropout(self.cross_out(read))
        return x + added

    def feed(self, x: Tensor) -> Tensor:
        """[…, d] -> […, d]"""
        hidden = torch.relu(self.feed_in(self.feed_norm(x)))
        added: Tensor = self.dropout(self.feed_out(hidden))
        return x + added
