from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from inktex.training.recurrent_decoder import (
    CoverageAggregation,
    GatedUnit,
    Memory,
    RecurrentDecoder,
    State,
)

VOCABULARY, CHANNELS, EMBEDDING, HIDDEN, ATTENTION = 9, 5, 8, 7, 11
ROWS, COLUMNS = 3, 4


def decoder(sizes: tuple[int, ...] = (5, 3), dropout: float = 0.0) -> RecurrentDecoder:
    """Of large random weights, so that attention is uneven."""
    torch.manual_seed(0)
    made = RecurrentDecoder(VOCABULARY, CHANNELS, EMBEDDING, HIDDEN, ATTENTION, sizes, 6, dropout)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.5)
    return made


def features(count: int = 2) -> Tensor:
    return torch.randn(count, CHANNELS, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))


def cell_of(unit: GatedUnit) -> nn.GRUCell:
    """torch's own GRU with the weights of a gated unit: it puts the reset gate first."""
    inputs, hidden = unit.from_input.in_features, unit.from_hidden.in_features
    cell = nn.GRUCell(inputs, hidden)
    order = torch.cat([torch.arange(hidden, 2 * hidden), torch.arange(hidden)])
    order = torch.cat([order, torch.arange(2 * hidden, 3 * hidden)])
    with torch.no_grad():
        cell.weight_ih.copy_(unit.from_input.weight[order])
        cell.bias_ih.copy_(unit.from_input.bias[order])
        cell.weight_hh.copy_(unit.from_hidden.weight[order])
        cell.bias_hh.copy_(unit.from_hidden.bias[order])
    return cell


def test_a_gated_unit_is_a_gru() -> None:
    torch.manual_seed(0)
    unit, x, hidden = GatedUnit(4, 6), torch.randn(3, 4), torch.randn(3, 6)
    with torch.no_grad():
        found = unit(unit.from_input(x), hidden)
        torch.testing.assert_close(found, cell_of(unit)(x, hidden))


@pytest.mark.parametrize("sizes", [(11, 5), (5, 11), (11,), (3, 5, 7)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 30), (16, 12)])
def test_the_convolutions_of_the_coverage_are_one(
    sizes: tuple[int, ...], rows: int, columns: int
) -> None:
    """To the precision of float64, in both ways, also where the kernel is larger than the map."""
    torch.manual_seed(0)
    aggregation = CoverageAggregation(sizes, 6, 4).double()
    coverage = 3 * torch.rand(2, 1, rows, columns, dtype=torch.float64)
    with torch.no_grad():
        published = aggregation(coverage)
        assert published.shape == (2, 4, rows, columns)
        assert published.std() > 0
        weight, bias = aggregation.kernel()
        assert weight.shape == (4, 1, max(sizes), max(sizes))
        one = functional.conv2d(coverage, weight, bias, padding=max(sizes) // 2)
        torch.testing.assert_close(one, published, atol=1e-13, rtol=1e-12)
    folded = aggregation.float().folded()
    assert [tuple(each.shape) for each in folded.parameters()] == [weight.shape, bias.shape]
    with torch.no_grad():
        found = folded(coverage.float()).double()
    torch.testing.assert_close(found, published, atol=1e-5, rtol=1e-5)


def test_the_layers_learn_the_same_through_the_one_convolution() -> None:
    torch.manual_seed(0)
    aggregation = CoverageAggregation((5, 3), 6, 4).double()
    coverage = torch.rand(2, 1, 4, 7, dtype=torch.float64)
    published = torch.autograd.grad(
        (aggregation(coverage) ** 3).sum(), list(aggregation.parameters())
    )
    weight, bias = aggregation.kernel()
    one = functional.conv2d(coverage, weight, bias, padding=2)
    short = torch.autograd.grad((one**3).sum(), list(aggregation.parameters()))
    for found, expected in zip(short, published, strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(found, expected)


def test_a_step_is_the_one_published() -> None:
    """Written down cell by cell."""
    made, seen = decoder(), features(1)
    state = State(torch.randn(1, HIDDEN), torch.rand(1, 1, ROWS, COLUMNS))
    with torch.no_grad():
        memory = made.remember(seen)
        log_probs, after = made.step(torch.tensor([4]), torch.tensor([3]), memory, state)
        assert isinstance(made.aggregation, CoverageAggregation)
        covered = made.aggregation(state.coverage)[0]
        word = made.embedding.weight[4][None]
        hidden = cell_of(made.first)(word, state.hidden)
        scores = torch.zeros(ROWS, COLUMNS)
        for row in range(ROWS):
            for column in range(COLUMNS):
                cell = seen[0, :, row, column]
                key = functional.linear(cell, made.keys.weight[:, :, 0, 0], made.keys.bias)
                energy = torch.tanh(key + made.query(hidden[0]) + covered[:, row, column])
                scores[row, column] = energy @ made.score.weight.flatten()
        attention = scores.exp() / scores.exp().sum()
        context = (seen[0] * attention).sum(dim=(1, 2))[None]
        hidden = cell_of(made.second)(context, hidden)
        mixed = made.from_token(word) + made.from_hidden(hidden) + made.from_context(context)
        half = EMBEDDING // 2
        best = torch.stack([mixed[:, :half], mixed[:, half:]]).amax(dim=0)
        expected = torch.log(torch.softmax(made.classifier(best), dim=1))
    torch.testing.assert_close(after.coverage[0, 0] - state.coverage[0, 0], attention)
    torch.testing.assert_close(after.hidden, hidden)
    torch.testing.assert_close(log_probs, expected)
    assert attention.max() > 2 * attention.min()


def test_the_first_hidden_state_is_made_from_the_mean_of_the_features() -> None:
    made, seen = decoder(), features()
    with torch.no_grad():
        memory = made.remember(seen)
        mean = seen.mean(dim=(2, 3))
        expected = torch.tanh(mean @ made.initial.weight.T + made.initial.bias)
        torch.testing.assert_close(memory.initial, expected)
        start, tokens = made.start(memory, 2), torch.tensor([1, 1])
        assert all((part == 0).all() for part in start)
        other = start._replace(hidden=torch.randn(2, HIDDEN))
        first, later = torch.tensor([0]), torch.tensor([1])
        for one, two in zip(
            made.step(tokens, first, memory, start),
            made.step(tokens, first, memory, other),
            strict=True,
        ):
            torch.testing.assert_close(one, two)
        one = made.step(tokens, later, memory, start)[0]
        assert not torch.allclose(one, made.step(tokens, later, memory, other)[0])


@pytest.mark.parametrize("sizes", [(5, 3), (5,), ()])
def test_step_by_step_is_all_at_once(sizes: tuple[int, ...]) -> None:
    made = decoder(sizes).eval()
    tokens = torch.tensor([[1, 4, 5, 3, 8, 2], [1, 7, 7, 2, 0, 0]])
    with torch.no_grad():
        memory = made.remember(features())
        logits, attentions = made(tokens, memory)
        assert logits.shape == (2, 6, VOCABULARY)
        assert attentions.shape == (2, 6, ROWS, COLUMNS)
        expected = torch.log_softmax(logits, dim=-1)
        state = made.start(memory, 2)
        for number in range(6):
            log_probs, following = made.step(
                tokens[:, number], torch.tensor([number]), memory, state
            )
            torch.testing.assert_close(log_probs, expected[:, number])
            looked = following.coverage - state.coverage
            torch.testing.assert_close(looked[:, 0], attentions[:, number])
            torch.testing.assert_close(looked.sum(dim=(1, 2, 3)), torch.ones(2))
            state = following


def test_beams_share_the_memory_of_their_image() -> None:
    made = decoder().eval()
    with torch.no_grad():
        memory = made.remember(features(1))
        spread = Memory(*(part.expand(3, *part.shape[1:]) for part in memory))
        shared, apart = made.start(memory, 3), made.start(spread, 3)
        for number, tokens in enumerate(([1, 1, 1], [3, 4, 5], [8, 8, 2])):
            position = torch.tensor([number])
            log_probs, shared = made.step(torch.tensor(tokens), position, memory, shared)
            expected, apart = made.step(torch.tensor(tokens), position, spread, apart)
            torch.testing.assert_close(log_probs, expected)
        assert not torch.allclose(log_probs[0], log_probs[1])


def test_where_it_has_looked_tells_only_with_coverage() -> None:
    tokens, position = torch.tensor([3, 3]), torch.tensor([2])
    for sizes in ((5,), ()):
        made = decoder(sizes).eval()
        with torch.no_grad():
            memory = made.remember(features())
            fresh = made.start(memory, 2)
            looked = fresh._replace(coverage=torch.rand(2, 1, ROWS, COLUMNS))
            one = made.step(tokens, position, memory, fresh)[0]
            other = made.step(tokens, position, memory, looked)[0]
        assert torch.allclose(one, other) is (not sizes)


def test_a_folded_aggregation_takes_its_place() -> None:
    made = decoder().eval()
    tokens = torch.tensor([[1, 4, 5], [1, 7, 7]])
    with torch.no_grad():
        memory = made.remember(features())
        expected = made(tokens, memory)
        assert isinstance(made.aggregation, CoverageAggregation)
        made.aggregation = made.aggregation.folded()
        for found, wanted in zip(made(tokens, memory), expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_every_weight_learns() -> None:
    made = decoder(dropout=0.3).train()
    memory = made.remember(features())
    logits, _ = made(torch.tensor([[1, 4, 5], [1, 7, 7]]), memory)
    loss = functional.cross_entropy(logits.flatten(0, 1), torch.tensor([4, 5, 2, 7, 7, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
