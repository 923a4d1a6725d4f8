"""CoMER at its published size, written from its paper, with random weights: what its time is.

Zhao and Gao, 2022, "CoMER: Modeling Coverage for Transformer-based Handwritten Mathematical
Expression Recognition" (arXiv:2207.04410). Every layer but the first refines its attention: that of
the layer before and its own are summed over the steps before and convolved over the grid, 5 x 5,
and taken from the scores, so that each step costs as many convolutions as there are tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.interface import TensorSpec
from .dense_encoder import DenseEncoder
from .places import grid_encoding, sinusoid
from .prefix_network import PrefixNetwork

_FEATURES, _HEADS, _HIDDEN, _LAYERS, _FILTERS = 256, 8, 1024, 3, 32


class Comer(PrefixNetwork):
    """Encoder of DenseWAP, three layers of a transformer normalised after each part, and the
    attention refinement that the last two share.

    Args:
        vocabulary: number of tokens.
        encoder: images to features of a cell of 16 x 16 pixels; by default of the published size.
        channels: of these features.
    """

    max_length = 200

    def __init__(
        self, vocabulary: int, encoder: nn.Module | None = None, channels: int = 684
    ) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary
        self.encoder = encoder or DenseEncoder()
        self.projection = nn.Conv2d(channels, _FEATURES, 1)
        self.encoder_norm = nn.LayerNorm(_FEATURES)
        self.embedding = nn.Sequential(nn.Embedding(vocabulary, _FEATURES), nn.LayerNorm(_FEATURES))
        self.embedding_norm = nn.LayerNorm(_FEATURES)
        self.layers = nn.ModuleList(ComerLayer() for _ in range(_LAYERS))
        self.refinement = Refinement()
        self.classifier = nn.Linear(_FEATURES, vocabulary)

    @property
    def memory(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("features", "float32", (1, "rows", "columns", _FEATURES)),)

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.projection(self.encoder(images))
        _, width, rows, columns = features.shape
        places = grid_encoding(rows, columns, width, features.device)
        return (self.encoder_norm((features + places).permute(0, 2, 3, 1)),)

    def read(self, tokens: Tensor, *memory: Tensor) -> Tensor:
        [features] = memory
        _, rows, columns, _ = features.shape
        cells = features.flatten(1, 2)
        steps = tokens.shape[1]
        x = self.embedding(tokens) + sinusoid(torch.arange(steps, device=tokens.device), _FEATURES)
        x = self.embedding_norm(x)
        before: Tensor | None = None
        for layer in self.layers:
            assert isinstance(layer, ComerLayer)
            x = layer.self_norm(x + layer.self_attention(x))
            scores = layer.cross_attention.scores(x, cells)
            attention = scores.softmax(dim=-1)
            if before is not None:
                scores = scores - self.refinement(before, attention, rows, columns)
                attention = scores.softmax(dim=-1)
            before = attention
            x = layer.cross_norm(x + layer.cross_attention.read(attention, cells))
            x = layer.feed_norm(x + layer.feed(x))
        logits: Tensor = self.classifier(x)
        return logits


class Attention(nn.Module):
    """Of several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(_FEATURES, _FEATURES) for _ in range(4)
        )

    def scores(self, x: Tensor, others: Tensor) -> Tensor:
        """x [b, t, d], others [b, n, d] -> [b, heads, t, n]"""
        query, key = self._heads(self.query(x)), self._heads(self.key(others))
        scores: Tensor = query @ key.transpose(-1, -2) * (_FEATURES // _HEADS) ** -0.5
        return scores

    def read(self, attention: Tensor, others: Tensor) -> Tensor:
        """attention [b, heads, t, n], others [b, n, d] -> [b, t, d]"""
        mixed = attention @ self._heads(self.value(others))
        read: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return read

    def forward(self, x: Tensor) -> Tensor:
        """x [b, t, d] -> what each reads of itself and of those before it, [b, t, d]"""
        steps = x.shape[1]
        later = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
        scores = self.scores(x, x).masked_fill(later, -torch.inf)
        return self.read(scores.softmax(dim=-1), x)

    @staticmethod
    def _heads(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], _HEADS, -1).transpose(1, 2)


class ComerLayer(nn.Module):
    """The parts of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attention, self.cross_attention = Attention(), Attention()
        self.self_norm, self.cross_norm, self.feed_norm = (
            nn.LayerNorm(_FEATURES) for _ in range(3)
        )
        self.feed = nn.Sequential(
            nn.Linear(_FEATURES, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _FEATURES)
        )


class Refinement(nn.Module):
    """What past attention takes from the scores of a cell, seen with its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * _HEADS, _FILTERS, 5, padding=2)
        self.second = nn.Conv2d(_FILTERS, _HEADS, 1, bias=False)
        self.norm = nn.BatchNorm2d(_HEADS)

    def forward(self, before: Tensor, present: Tensor, rows: int, columns: int) -> Tensor:
        """Attention of the layer before and of this one, [b, heads, t, cells] -> the same"""
        both = torch.cat([before, present], dim=1)
        past = (both.cumsum(dim=2) - both).transpose(1, 2)  # [b, t, 2 * heads, cells]
        grids = past.reshape(-1, 2 * _HEADS, rows, columns)
        refined: Tensor = self.norm(self.second(torch.relu(self.first(grids))))
        return refined.flatten(2).reshape(*past.shape[:2], _HEADS, -1).transpose(1, 2)
