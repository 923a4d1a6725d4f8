"""A transformer decoder with coverage: it writes LaTeX tokens, looking at cells that hold ink.

The memory is hoisted: keys and values of the cross attention are projected once per image, so
that a step costs only what depends on the step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Memory(NamedTuple):
    """What the decoder looks at.

    keys, values: [b, layers, heads, cells, d/heads]
    bias: [b, cells], 0 where a cell may be attended to, `MASKED` elsewhere
    """

    keys: Tensor
    values: Tensor
    bias: Tensor


class State(NamedTuple):
    """What the decoder remembers between steps; fixed shapes, zeros at the start.

    cache_keys, cache_values: [layers, b, heads, length, d/heads] of the self attention, with room
        for `length` steps
    coverage: [layers, b, heads, cells], the sum of past attention
    """

    cache_keys: Tensor
    cache_values: Tensor
    coverage: Tensor


MASKED = -1e4
"""Added to a score, it silences it, also in half precision."""


def sinusoid(positions: Tensor, features: int) -> Tensor:
    """Positions [n] -> encodings [n, features] (Vaswani et al., 2017, arXiv:1706.03762)."""
    rates = torch.exp(
        torch.arange(0, features, 2, device=positions.device) * (-9.210340371976184 / features)
    )
    angles = positions[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def grid_encoding(height: int, width: int, features: int, device: torch.device) -> Tensor:
    """Encodings [features, height, width]: half of the features tell the row, half the column."""
    half = features // 2
    rows = sinusoid(torch.arange(height, device=device), half)
    columns = sinusoid(torch.arange(width, device=device), half)
    return torch.cat(
        [
            rows.T[:, :, None].expand(half, height, width),
            columns.T[:, None, :].expand(half, height, width),
        ]
    )


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
        # the heads are mixed by products from the left, which need no transposition
        both = torch.cat([past, present], dim=1).flatten(2)
        hidden = torch.relu(self.first.weight @ both + self.first.bias[:, None])
        score = self.second.weight @ hidden + self.second.bias[:, None]
        return score.reshape(past.shape)


class DecoderLayer(nn.Module):
    """Self attention, cross attention with coverage, feed-forward; normalised before each."""

    def __init__(
        self, features: int, heads: int, hidden: int, dropout: float, covered: bool
    ) -> None:
        super().__init__()
        self.heads = heads
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

    def split(self, x: Tensor) -> Tensor:
        """[b, t, d] -> [b, heads, t, d/heads]"""
        if x.shape[1] == 1:  # nothing to transpose: a step saves these operations
            return x.reshape(x.shape[0], self.heads, 1, -1)
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """[b, heads, t, d/heads] -> [b, t, d]"""
        if x.shape[2] == 1:
            return x.reshape(x.shape[0], 1, -1)
        return x.transpose(1, 2).flatten(2)

    def project_self(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[b, t, d] -> queries, keys, values of the self attention, [b, heads, t, d/heads]"""
        query, key, value = self.self_qkv(self.self_norm(x)).chunk(3, dim=-1)
        return self.split(query), self.split(key), self.split(value)

    def attend_self(
        self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor
    ) -> Tensor:
        """Add to x [b, t, d] what the tokens before it say; bias [t, s] masks the later ones."""
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
        mixed = torch.softmax(scores, dim=-1) @ value
        added: Tensor = self.dropout(self.self_out(self.join(mixed)))
        return x + added

    def cross_scores(self, x: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        """x [b, t, d], key [b, heads, cells, d/heads], bias [b, cells] -> [b, heads, t, cells]"""
        query: Tensor = self.split(self.cross_query(self.cross_norm(x)))
        scale: float = query.shape[-1] ** -0.5
        return query @ key.transpose(-1, -2) * scale + bias[:, None, None]

    def attend_cross(self, x: Tensor, attention: Tensor, value: Tensor) -> Tensor:
        """Add to x [b, t, d] what attention [b, heads, t, cells] reads from the memory."""
        mixed = attention @ value
        added: Tensor = self.dropout(self.cross_out(self.join(mixed)))
        return x + added

    def feed(self, x: Tensor) -> Tensor:
        """[b, t, d] -> [b, t, d]"""
        hidden = torch.relu(self.feed_in(self.feed_norm(x)))
        added: Tensor = self.dropout(self.feed_out(hidden))
        return x + added


class CoverageTransformer(nn.Module):
    """Tokens and memory to the log-probabilities of the next tokens.

    Args:
        vocabulary: number of tokens.
        features, heads, hidden, layers: shape of the transformer.
        max_length: steps that the state has room for.
        dropout: probability.
        coverage: whether past attention tells on the scores; the state counts it either way.
    """

    def __init__(
        self,
        vocabulary: int,
        features: int,
        heads: int,
        hidden: int,
        layers: int,
        max_length: int,
        dropout: float,
        coverage: bool = True,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.heads = heads
        self.embedding = nn.Embedding(vocabulary, features)
        nn.init.normal_(self.embedding.weight, std=features**-0.5)
        self.positions: Tensor
        self.register_buffer(
            "positions", sinusoid(torch.arange(max_length), features), persistent=False
        )
        self.memory_norm = nn.LayerNorm(features)
        self.memory_keys = nn.Linear(features, layers * features)
        self.memory_values = nn.Linear(features, layers * features)
        # what is read tells where it was read: the next place is found from the last
        self.memory_places = nn.Linear(features, layers * features, bias=False)
        nn.init.zeros_(self.memory_places.weight)
        self.layers = nn.ModuleList(
            DecoderLayer(features, heads, hidden, dropout, covered=coverage and number > 0)
            for number in range(layers)
        )
        self.norm = nn.LayerNorm(features)
        self.classifier = nn.Linear(features, vocabulary)
        self.dropout = nn.Dropout(dropout)

    def remember(self, cells: Tensor, places: Tensor, bias: Tensor) -> Memory:
        """Project the memory, once per image.

        Args:
            cells: features of the cells, [b, cells, d].
            places: encodings of where they are, [b, cells, d] or [1, cells, d].
            bias: [b, cells], 0 for a cell that may be attended to, `MASKED` elsewhere.
        """
        cells = self.memory_norm(cells)
        shape = (len(self.layers), self.heads, -1)
        keys = self.memory_keys(cells + places).unflatten(-1, shape).permute(0, 2, 3, 1, 4)
        values = self.memory_values(cells) + self.memory_places(places)
        values = values.unflatten(-1, shape).permute(0, 2, 3, 1, 4)
        return Memory(keys, values, bias)

    def forward(
        self, tokens: Tensor, memory: Memory, directions: int = 1
    ) -> tuple[Tensor, list[Tensor]]:
        """Teacher forcing: all steps at once.

        Args:
            tokens: int64 [b * directions, t], each row starting with its start token. The
                rows of one image stand together.
            directions: rows of tokens per image, which share its memory.

        Returns:
            logits [b * directions, t, vocabulary] and, per layer, the attention
            [b * directions, heads, t, cells].
        """
        steps = tokens.shape[1]
        x = self.dropout(
            self.embedding(tokens) * self.embedding.embedding_dim**0.5 + self.positions[:steps]
        )
        later = torch.full((steps, steps), MASKED, device=x.device).triu(1)
        memory = Memory(*(part.repeat_interleave(directions, 0) for part in memory))
        attentions: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            x = layer.attend_self(x, *layer.project_self(x), later)
            scores = layer.cross_scores(x, memory.keys[:, number], memory.bias)
            if layer.coverage is not None:
                present = attentions[-1]
                past = present.cumsum(dim=2) - present
                scores = scores + layer.coverage(past, present)
            attention = torch.softmax(scores, dim=-1)
            attentions.append(attention)
            x = layer.feed(layer.attend_cross(x, attention, memory.values[:, number]))
        return self.classifier(self.norm(x)), attentions

    def start(self, memory: Memory, beams: int, length: int | None = None) -> State:
        """The state before the first step, zeros, for `beams` rows and `length` steps, by default
        `max_length`."""
        _, layers, heads, cells, features = memory.keys.shape
        cache = memory.keys.new_zeros(layers, beams, heads, length or self.max_length, features)
        return State(cache, cache.clone(), memory.keys.new_zeros(layers, beams, heads, cells))

    def step(
        self, tokens: Tensor, position: Tensor, memory: Memory, state: State
    ) -> tuple[Tensor, State]:
        """One step for all rows; the same numbers as `forward` gives.

        Args:
            tokens: int64 [beams], the tokens written last.
            position: int64 [1], the number of steps made before, 0 with `<sos>`.
            memory: of batch 1, shared by all beams, or of one image per row.

        Returns:
            log-probabilities [beams, vocabulary] and the next state.
        """
        x = self.embedding(tokens)[:, None] * self.embedding.embedding_dim**0.5
        x = x + self.positions[position]
        slots = torch.arange(state.cache_keys.shape[3], device=tokens.device)
        here = (slots == position)[:, None]
        later = torch.where(slots > position, MASKED, 0.0)[None]
        keys, values, coverages = [], [], []
        present: Tensor | None = None
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            query, key, value = layer.project_self(x)
            key = torch.where(here, key, state.cache_keys[number])
            value = torch.where(here, value, state.cache_values[number])
            x = layer.attend_self(x, query, key, value, later)
            scores = layer.cross_scores(x, memory.keys[:, number], memory.bias)
            if layer.coverage is not None:
                assert present is not None
                past = state.coverage[number - 1][:, :, None]
                scores = scores + layer.coverage(past, present)
            present = torch.softmax(scores, dim=-1)
            x = layer.feed(layer.attend_cross(x, present, memory.values[:, number]))
            keys.append(key)
            values.append(value)
            coverages.append(state.coverage[number] + present[:, :, 0])
        log_probs = functional.log_softmax(self.classifier(self.norm(x[:, 0])).float(), dim=-1)
        return log_probs, State(torch.stack(keys), torch.stack(values), torch.stack(coverages))
