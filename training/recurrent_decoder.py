"""A recurrent decoder with attention and coverage: it writes LaTeX tokens, one at a time.

What does not depend on the step is hoisted: the keys of the attention and the first hidden state
are made once per image, and all that the tokens alone decide once per caption. The convolutions of
the coverage and the linear layers behind them are always computed as the one convolution that they
are together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Memory(NamedTuple):
    """What the decoder looks at, and where it starts.

    features: [b, d, rows, columns]
    keys: [b, a, rows, columns], the features as the attention compares them
    initial: [b, n], the hidden state before the first step
    """

    features: Tensor
    keys: Tensor
    initial: Tensor


class State(NamedTuple):
    """What the decoder remembers between steps; fixed shapes, zeros at the start.

    hidden: [b, n]
    coverage: [b, 1, rows, columns], the sum of past attention; what a step adds to it is the
        attention of that step
    """

    hidden: Tensor
    coverage: Tensor


class GatedUnit(nn.Module):
    """A GRU (Cho et al., 2014, arXiv:1406.1078) spelled out: CoreML knows no `GRUCell`, and what
    the input says can be computed for many steps at once.

    Attributes:
        from_input: x [..., inputs] -> [..., 3n], the first argument of `forward`.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.from_input = nn.Linear(inputs, 3 * hidden)
        self.from_hidden = nn.Linear(hidden, 3 * hidden)

    def forward(self, given: Tensor, hidden: Tensor) -> Tensor:
        """given [b, 3n], hidden [b, n] -> the next hidden state [b, n]"""
        # the sum over many steps is kept in full precision, whatever the products are in
        update, reset, fresh = given.float().chunk(3, dim=1)
        past_update, past_reset, past_fresh = self.from_hidden(hidden).float().chunk(3, dim=1)
        update = torch.sigmoid(update + past_update)
        reset = torch.sigmoid(reset + past_reset)
        fresh = torch.tanh(fresh + reset * past_fresh)
        return fresh + update * (hidden - fresh)


class CoverageScale(nn.Module):
    """A convolution over the coverage and the linear layer behind it."""

    def __init__(self, size: int, filters: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, filters, size, padding=size // 2, bias=False)
        self.projection = nn.Conv2d(filters, outputs, 1)

    def forward(self, coverage: Tensor) -> Tensor:
        """[b, 1, rows, columns] -> [b, outputs, rows, columns]"""
        found: Tensor = self.projection(self.convolution(coverage))
        return found


class CoverageAggregation(nn.Module):
    """How past attention bears on the score of a cell, at one scale or several.

    The attention aggregation module of ABM (Bian et al., 2022, arXiv:2112.03603): convolutions of
    several sizes over the coverage, each with a linear layer behind it, summed. With one size it
    is the coverage of WAP (Zhang et al., 2017).

    Nothing between these layers is nonlinear, so that together they are one convolution of the
    greatest size, from one channel to `outputs`: `kernel`. This is exact, and at the sizes of ABM
    a tenth of the products.

    Args:
        sizes: of the kernels, odd.
        filters: channels of each convolution.
        outputs: channels of the result.
    """

    def __init__(self, sizes: Sequence[int], filters: int, outputs: int) -> None:
        super().__init__()
        self.size = max(sizes)
        self.scales = nn.ModuleList(CoverageScale(size, filters, outputs) for size in sizes)

    def forward(self, coverage: Tensor) -> Tensor:
        """coverage [b, 1, rows, columns] -> [b, outputs, rows, columns], layer by layer, as
        published; the decoder goes the shorter way by `kernel`."""
        return torch.stack([scale(coverage) for scale in self.scales]).sum(dim=0)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """weight [outputs, 1, size, size] and bias [outputs] of the one convolution; gradients
        flow through them to the layers."""
        weights, biases = [], []
        for scale in self.scales:
            assert isinstance(scale, CoverageScale)
            filters = scale.convolution.weight
            weight = scale.projection.weight.flatten(1) @ filters.flatten(1)
            weight = weight.reshape(len(weight), *filters.shape[1:])
            margin = (self.size - filters.shape[-1]) // 2
            weights.append(functional.pad(weight, [margin] * 4))
            assert scale.projection.bias is not None
            biases.append(scale.projection.bias)
        return torch.stack(weights).sum(dim=0), torch.stack(biases).sum(dim=0)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """The one convolution as a module, for export."""
        weight, bias = self.kernel()
        convolution = nn.Conv2d(1, len(bias), self.size, padding=self.size // 2)
        convolution.load_state_dict({"weight": weight, "bias": bias})
        return convolution


class RecurrentDecoder(nn.Module):
    """Tokens and memory to the log-probabilities of the next tokens.

    Two gated units around an attention over the cells of the feature map, as in DenseWAP (Zhang,
    Du and Dai, 2018, arXiv:1801.03530) and ABM (Bian et al., 2022, arXiv:2112.03603). As there,
    the hidden state starts from the mean of the features. Unlike there, nothing is masked: blank
    paper beside a formula in a batch is paper like any other.

    Args:
        vocabulary: number of tokens.
        channels: of the features.
        embedding: width of the embedding and of the output layer, even.
        hidden: width of the gated units.
        attention: width in which query, keys and coverage meet.
        sizes: of the kernels over the coverage; none leave the coverage out.
        filters: channels of each convolution over the coverage.
        dropout: probability, before the classifier.

    Attributes:
        aggregation: coverage [b, 1, rows, columns] -> [b, attention, rows, columns]
    """

    def __init__(
        self,
        vocabulary: int,
        channels: int,
        embedding: int,
        hidden: int,
        attention: int,
        sizes: Sequence[int],
        filters: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.initial = nn.Linear(channels, hidden)
        self.first = GatedUnit(embedding, hidden)
        self.keys = nn.Conv2d(channels, attention, 1)
        self.query = nn.Linear(hidden, attention, bias=False)
        self.aggregation: nn.Module | None = (
            CoverageAggregation(sizes, filters, attention) if sizes else None
        )
        self.score = nn.Conv2d(attention, 1, 1, bias=False)  # a softmax sees no bias
        self.second = GatedUnit(channels, hidden)
        self.from_token = nn.Linear(embedding, embedding, bias=False)
        self.from_hidden = nn.Linear(hidden, embedding, bias=False)
        self.from_context = nn.Linear(channels, embedding)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(embedding // 2, vocabulary)

    def remember(self, features: Tensor) -> Memory:
        """features [b, d, rows, columns] -> memory, once per image"""
        initial = torch.tanh(self.initial(features.mean(dim=(2, 3))))
        # every step reads both as rows of cells, whatever order the convolutions prefer
        return Memory(features.contiguous(), self.keys(features).contiguous(), initial)

    def start(self, memory: Memory, beams: int) -> State:
        """The state of `beams` rows before the first step: zeros."""
        _, _, rows, columns = memory.features.shape
        zeros = memory.features.new_zeros
        return State(zeros(beams, memory.initial.shape[1]), zeros(beams, 1, rows, columns))

    def forward(self, tokens: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Teacher forcing: the attention goes step by step, all else at once.

        Args:
            tokens: int64 [b, t], each row starting with its start token.
            memory: of one image per row.

        Returns:
            logits [b, t, vocabulary] and the attention [b, t, rows, columns].
        """
        embedded = self.embedding(tokens)
        given = self.first.from_input(embedded)
        cover = self._cover()
        _, coverage = self.start(memory, len(tokens))
        hidden = memory.initial.float()
        steps = []
        for number in range(tokens.shape[1]):
            hidden, context, attention = self._advance(
                given[:, number], hidden, coverage, memory, cover
            )
            coverage = coverage + attention
            steps.append((hidden, context, attention))
        hiddens, contexts, attentions = (
            torch.stack(each, dim=1) for each in zip(*steps, strict=True)
        )
        return self._answer(embedded, hiddens, contexts), attentions[:, :, 0]

    def step(
        self, tokens: Tensor, position: Tensor, memory: Memory, state: State
    ) -> tuple[Tensor, State]:
        """One step for all rows; the same numbers as `forward` gives.

        Args:
            tokens: int64 [beams], the tokens written last.
            position: int64 [1], the number of steps made before, 0 with `<sos>`; at 0 the hidden
                state is that of the memory.
            memory: of batch 1, shared by all beams, or of one image per row.

        Returns:
            log-probabilities [beams, vocabulary] and the next state.
        """
        embedded = self.embedding(tokens)
        hidden = torch.where(position == 0, memory.initial, state.hidden)
        hidden, context, attention = self._advance(
            self.first.from_input(embedded), hidden, state.coverage, memory, self._cover()
        )
        logits = self._answer(embedded, hidden, context)
        log_probs = functional.log_softmax(logits.float(), dim=-1)
        return log_probs, State(hidden, state.coverage + attention)

    def _cover(self) -> Callable[[Tensor, Tensor], Tensor]:
        """What adds to an energy [b, a, rows, columns] the part that a coverage
        [b, 1, rows, columns] has in it: one convolution, whose kernel is made here, once; or
        whatever module has taken the place of the aggregation."""
        aggregation = self.aggregation
        if aggregation is None:
            return lambda energy, coverage: energy
        if not isinstance(aggregation, CoverageAggregation):
            return lambda energy, coverage: energy + aggregation(coverage)
        weight, bias = aggregation.kernel()
        size = weight.shape[-1]
        weight = torch.cat([weight.flatten(1), bias[:, None]], dim=1)

        def cover(energy: Tensor, coverage: Tensor) -> Tensor:
            # as a product: convolutions of one channel are slow to differentiate on CPUs, three
            # times slower than this at the sizes of ABM
            seen = functional.unfold(coverage, size, padding=size // 2)
            seen = functional.pad(seen, (0, 0, 0, 1), value=1.0)
            weights = weight.expand(len(seen), -1, -1)
            return torch.baddbmm(energy.flatten(2), weights, seen).reshape(energy.shape)

        return cover

    def _advance(
        self,
        given: Tensor,
        hidden: Tensor,
        coverage: Tensor,
        memory: Memory,
        cover: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """given [b, 3n], what the token says to the first unit; hidden [b, n]; coverage
        [b, 1, rows, columns] -> hidden [b, n], context [b, d], attention [b, 1, rows, columns]"""
        hidden = self.first(given, hidden)
        energy = cover(memory.keys + self.query(hidden)[:, :, None, None], coverage)
        scores = self.score(torch.tanh(energy)).flatten(1)
        weights = torch.softmax(scores.float(), dim=1)
        context = (memory.features.flatten(2) @ weights[:, :, None])[:, :, 0]
        hidden = self.second(self.second.from_input(context), hidden)
        return hidden, context, weights.reshape(coverage.shape)

    def _answer(self, embedded: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
        """[..., m], [..., n], [..., d] -> logits [..., vocabulary], through a maxout (Goodfellow
        et al., 2013, arXiv:1302.4389)"""
        mixed = self.from_token(embedded) + self.from_hidden(hidden) + self.from_context(context)
        logits: Tensor = self.classifier(self.dropout(torch.maximum(*mixed.chunk(2, dim=-1))))
        return logits
