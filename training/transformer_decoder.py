"""A transformer decoder with coverage: it writes LaTeX tokens, looking at cells that hold ink.

The memory is hoisted: keys and values of the cross attention are projected once per image, so
that a step costs only what depends on the step. Every layer has tensors of its own, in memory and
state alike: taking them out of a common one and putting them back took a third of a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .decoder_layer import DecoderLayer, attention_of, past_attention
from .places import sinusoid


class Memory(tuple[Tensor, ...]):
    """What the decoder looks at: the keys of every layer, the values of every layer, the bias."""

    def __new__(cls, *tensors: Tensor) -> Memory:
        return super().__new__(cls, tensors)

    @property
    def keys(self) -> tuple[Tensor, ...]:
        """Of each layer, [b, heads, cells, d/heads]"""
        return self[: len(self) // 2]

    @property
    def values(self) -> tuple[Tensor, ...]:
        """Of each layer, [b, heads, cells, d/heads]"""
        return self[len(self) // 2 : -1]

    @property
    def bias(self) -> Tensor:
        """[b, cells], 0 where a cell may be attended to, `MASKED` elsewhere"""
        return self[-1]

    def split(self, sizes: Sequence[tuple[int, int]]) -> list[Memory]:
        """Of so many images each, one after the other, of which none has more than so many
        cells."""
        rows = [count for count, _ in sizes]
        parts = zip(*(torch.split(each, rows) for each in self), strict=True)
        return [
            Memory(*(each[:, :, :cells] for each in layers), bias[:, :cells])
            for (*layers, bias), (_, cells) in zip(parts, sizes, strict=True)
        ]


class State(tuple[Tensor, ...]):
    """What the decoder remembers between steps: the cached keys of every layer, the cached values,
    the coverage; fixed shapes, zeros at the start."""

    def __new__(cls, *tensors: Tensor) -> State:
        return super().__new__(cls, tensors)

    @property
    def cache_keys(self) -> tuple[Tensor, ...]:
        """Of each layer's self attention, [length, b, heads, d/heads], with room for `length`
        steps: what a step writes lies together"""
        return self[: len(self) // 3]

    @property
    def cache_values(self) -> tuple[Tensor, ...]:
        """As the keys"""
        return self[len(self) // 3 : -(len(self) // 3)]

    @property
    def coverage(self) -> tuple[Tensor, ...]:
        """The sum of each layer's past attention, [images, heads, rows of an image, cells], as the
        attention of a step is"""
        return self[-(len(self) // 3) :]


MASKED = -1e4
"""Added to a score, it silences it, also in half precision."""
UNSEEN = -70.0
"""Likewise, of tokens that may not be looked at: a weight of 1e-30, which no sum in float32 feels.
`MASKED` makes subnormal numbers of the weights, with which a processor takes a hundred times as
long; the steps of a decoder have many."""


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
        keys = self.memory_keys(cells + places)
        values = self.memory_values(cells) + self.memory_places(places)
        return Memory(
            *(
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for whole in (keys, values)
                for part in whole.chunk(len(self.layers), dim=-1)
            ),
            bias,
        )

    def forward(self, tokens: Tensor, memory: Memory) -> tuple[Tensor, list[Tensor]]:
        """Teacher forcing: all steps at once.

        Args:
            tokens: int64 [b, t], each row starting with its start token.
            memory: of b images.

        Returns:
            logits [b, t, vocabulary] and, per layer, the attention [b, heads, t, cells].
        """
        logits, (attentions,) = self.read([tokens[:, None]], [memory])
        return logits.reshape(*tokens.shape, -1), [each[:, :, 0] for each in attentions]

    def read(
        self, tokens: Sequence[Tensor], memories: Sequence[Memory]
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Teacher forcing of a batch in parts, each of its own length: formulas of one batch differ
        much in tokens and cells, so that most of a padded whole would be padding. What a token
        needs by itself is computed for all parts at once, and attention part by part.

        Args:
            tokens: of each part int64 [b, directions, t], each row starting with its start token.
            memories: of each part, of b images; all directions look at it.

        Returns:
            logits [n, vocabulary] of the n tokens of all parts, one after the other, and of each
            part, per layer, the attention [b, heads, directions, t, cells].
        """
        scale = self.embedding.embedding_dim**0.5
        x = torch.cat(
            [
                (self.embedding(part) * scale + self.positions[: part.shape[2]]).flatten(0, 2)
                for part in tokens
            ]
        )
        x = self.dropout(x)
        rows = [(part.shape[0] * part.shape[1], part.shape[2]) for part in tokens]
        sizes = [part.numel() for part in tokens]
        attentions: list[list[Tensor]] = [[] for _ in tokens]
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            x = layer.attend_self(x, rows)
            read = []
            for query, part, memory, known in zip(
                torch.split(layer.cross_queries(x), sizes),
                tokens,
                memories,
                attentions,
                strict=True,
            ):
                scores = layer.cross_scores(query, memory.keys[number], memory.bias)
                if layer.coverage is not None:
                    present = known[-1].flatten(2, 3)
                    scores = scores + layer.coverage(past_attention(known[-1]), present)
                attention = attention_of(scores)
                known.append(attention.reshape(*attention.shape[:2], *part.shape[1:], -1))
                read.append(layer.cross_read(attention, memory.values[number]))
            x = layer.feed(layer.attend_cross(x, torch.cat(read)))
        return self.classifier(self.norm(x)), attentions

    def read_tree(
        self, tokens: Tensor, positions: Tensor, ancestors: Tensor, memory: Memory
    ) -> tuple[Tensor, State]:
        """All tokens of a tree at once, as `Recognizer.read_tree` has it; the same numbers as steps
        along each path give. Of every node the keys and values are [nodes, 1, heads, d/heads], and
        what it adds to the coverage is [1, heads, nodes, cells]."""
        x = self.embedding(tokens) * self.embedding.embedding_dim**0.5
        x = x + functional.embedding(positions, self.positions)
        elsewhere = (1.0 - ancestors) * UNSEEN
        keys, values, attentions = [], [], list[Tensor]()
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            x, key, value = layer.tree_self(x, elsewhere)
            queries = layer.cross_queries(x)
            scores = layer.cross_scores(queries, memory.keys[number], memory.bias)
            if layer.coverage is not None:
                present = attentions[-1]
                scores = scores + layer.coverage(ancestors @ present - present, present)
            attentions.append(torch.softmax(scores, dim=-1))
            read = layer.cross_read(attentions[-1], memory.values[number])
            x = layer.feed(layer.attend_cross(x, read))
            keys.append(key[:, None])
            values.append(value[:, None])
        log_probs = functional.log_softmax(self.classifier(self.norm(x)).float(), dim=-1)
        return log_probs, State(*keys, *values, *attentions)

    def start(self, memory: Memory, beams: int, length: int | None = None) -> State:
        """The state before the first step, zeros, for `beams` rows and `length` steps, by default
        `max_length`."""
        key = memory.keys[0]
        images, heads, cells, features = key.shape
        cache = key.new_zeros(length or self.max_length, beams, heads, features)
        coverage = key.new_zeros(images, heads, beams // images, cells)
        count = len(self.layers)
        return State(
            *(cache.clone() for _ in range(2 * count)), *(coverage.clone() for _ in range(count))
        )

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
        x = self.embedding(tokens) * self.embedding.embedding_dim**0.5
        x = x + functional.embedding(position, self.positions)
        length = state.cache_keys[0].shape[0]
        later = torch.where(torch.arange(length, device=x.device) > position, UNSEEN, 0.0)
        keys, values, coverages = [], [], []
        present: Tensor | None = None
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            caches = (state.cache_keys[number], state.cache_values[number])
            x, key, value = layer.step_self(x, *caches, position, later)
            # the rows of an image stand where its tokens stand in teacher forcing
            queries = layer.cross_queries(x)
            scores = layer.cross_scores(queries, memory.keys[number], memory.bias)
            if layer.coverage is not None:
                assert present is not None
                scores = scores + layer.coverage(state.coverage[number - 1], present)
            present = torch.softmax(scores, dim=-1)
            read = layer.cross_read(present, memory.values[number])
            x = layer.feed(layer.attend_cross(x, read))
            keys.append(key)
            values.append(value)
            coverages.append(state.coverage[number] + present)
        log_probs = functional.log_softmax(self.classifier(self.norm(x)).float(), dim=-1)
        return log_probs, State(*keys, *values, *coverages)
