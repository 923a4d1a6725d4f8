"""A transformer decoder with coverage: it writes LaTeX tokens, looking at cells that hold ink.

The memory is hoisted: keys and values of the cross attention are projected once per image, so
that a step costs only what depends on the step. Every layer has tensors of its own, in memory and
state alike: taking them out of a common one and putting them back took a third of a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .decoder_layer import DecoderLayer
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
            x = layer.attend_self(x, later)
            scores = layer.cross_scores(x, memory.keys[number], memory.bias)
            if layer.coverage is not None:
                present = attentions[-1]
                past = present.cumsum(dim=2) - present
                scores = scores + layer.coverage(past, present)
            attention = torch.softmax(scores, dim=-1)
            attentions.append(attention)
            x = layer.feed(layer.attend_cross(x, attention, memory.values[number]))
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
            scores = layer.cross_scores(x, memory.keys[number], memory.bias)
            if layer.coverage is not None:
                present = attentions[-1]
                scores = scores + layer.coverage(ancestors @ present - present, present)
            attentions.append(torch.softmax(scores, dim=-1))
            x = layer.feed(layer.attend_cross(x, attentions[-1], memory.values[number]))
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
            scores = layer.cross_scores(x, memory.keys[number], memory.bias)
            if layer.coverage is not None:
                assert present is not None
                scores = scores + layer.coverage(state.coverage[number - 1], present)
            present = torch.softmax(scores, dim=-1)
            x = layer.feed(layer.attend_cross(x, present, memory.values[number]))
            keys.append(key)
            values.append(value)
            coverages.append(state.coverage[number] + present)
        log_probs = functional.log_softmax(self.classifier(self.norm(x)).float(), dim=-1)
        return log_probs, State(*keys, *values, *coverages)
