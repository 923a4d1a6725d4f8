from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from inktex.core.errors import DataError
from inktex.training.batches import Batch, Drawing, Part, collate, draw
from inktex.training.inkset import Expression
from inktex.training.objectives import AlignedCrossEntropy, CrossEntropy
from inktex.training.transformer_decoder import Memory
from inktex.training.transformer_recognizer import TransformerRecognizer

from .synthetic import expressions, network, vocabulary


def losses(
    network: TransformerRecognizer, batch: Batch, label_smoothing: float, layers: int
) -> Mapping[str, Tensor]:
    return AlignedCrossEntropy(label_smoothing, aligned_layers=layers)(network, batch).parts


def batch(count: int = 4) -> Batch:
    made = expressions(count)
    return collate(made, [draw(each) for each in made], vocabulary())


def on_paper(drawing: Drawing, height: int, width: int) -> Drawing:
    """The same on paper of a fixed size, so that a batch pads nothing."""
    h, w = drawing.image.shape
    return Drawing(np.pad(drawing.image, ((0, height - h), (0, width - w))), drawing.strokes)


def test_losses_are_positive_and_finite() -> None:
    found = losses(network(), batch(), 0.1, 2)
    for value in found.values():
        assert value.shape == ()
        assert torch.isfinite(value)
        assert value > 0
    assert found["tokens"] < 4 * math.log(len(vocabulary()))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_cross_entropy_is_that_of_the_tokens_from_left_to_right(smoothing: float) -> None:
    """Token by token; `<pad>` costs nothing. With any recognizer, here one of a transformer."""
    net, one = network(), batch(3)
    with torch.no_grad():
        total, parts = CrossEntropy(smoothing)(net, one)
        log_probs = torch.log_softmax(
            net.decoder(one.inputs[:, 0], net.encode(one.images))[0], dim=2
        )
    costs = []
    for row, caption in enumerate(expressions(3)):
        numbers = [*vocabulary().encode(caption.caption), vocabulary().eos]
        for step, number in enumerate(numbers):
            right, any_token = log_probs[row, step, number], log_probs[row, step].mean()
            costs.append(float(-(1 - smoothing) * right - smoothing * any_token))
    assert total.item() == pytest.approx(sum(costs) / len(costs), rel=1e-4)
    assert parts == {"tokens": total}


def test_the_attention_of_a_transformer_is_aligned_by_another_objective() -> None:
    with pytest.raises(DataError, match="expected a recurrent decoder, found Transformer"):
        CrossEntropy(alignment=0.3)(network(), batch())


def test_padding_costs_nothing() -> None:
    """The loss of two formulas together is the mean of theirs, weighted by tokens."""
    made = [expressions(3)[0], expressions(3)[2]]  # of 3 and 7 tokens
    drawings = [on_paper(draw(each), 64, 96) for each in made]
    words, net = vocabulary(), network()
    both = losses(net, collate(made, drawings, words), 0.0, 2)
    parts = [
        losses(net, collate([each], [drawing], words), 0.0, 2)
        for each, drawing in zip(made, drawings, strict=True)
    ]
    steps = torch.tensor([4.0, 8.0])
    tokens = torch.stack([part["tokens"] for part in parts])
    torch.testing.assert_close(both["tokens"], (tokens * steps).sum() / 12, atol=1e-4, rtol=1e-4)
    inked = torch.tensor([3.0, 3.0])
    alignment = torch.stack([part["alignment"] for part in parts])
    torch.testing.assert_close(
        both["alignment"], (alignment * inked).sum() / 6, atol=1e-4, rtol=1e-4
    )


def test_the_directions_diverge_by_what_they_say_of_the_same_token() -> None:
    """Token by token: the step that writes it from the left, and the one from the right."""
    net, one = network(), batch(5)
    _, parts = AlignedCrossEntropy(mutual=0.5)(net, one)
    total, count = 0.0, 0
    with torch.no_grad():
        memory = net.encode(one.images)
        left, right = (
            torch.log_softmax(net.decoder(one.inputs[:, direction], memory)[0], dim=2)
            for direction in (0, 1)
        )
        for row, made in enumerate(expressions(5)):
            length = len(made.caption)
            for step in range(length):
                p, q = left[row, step], right[row, length - 1 - step]
                total += float(((p.exp() - q.exp()) * (p - q)).sum()) / 2
                count += 1
    assert parts["mutual"].item() == pytest.approx(total / count, rel=1e-3)
    assert total > 0


def test_the_directions_learn_from_each_other_where_that_has_a_weight() -> None:
    net, one = network(), batch(5)
    plain, parts = AlignedCrossEntropy()(net, one)
    assert "mutual" not in parts
    total, parts = AlignedCrossEntropy(mutual=0.5)(net, one)
    torch.testing.assert_close(total, plain + 0.5 * parts["mutual"])


def test_a_batch_in_parts_costs_what_it_costs_whole() -> None:
    """Losses and gradients, with formulas of unlike length, as they stand in a training."""
    made = sorted(expressions(7), key=lambda each: len(each.caption))
    in_parts = collate(made, [draw(each) for each in made], vocabulary())
    steps = max(part.tokens for part in in_parts.parts)
    cells = max(part.cells for part in in_parts.parts)
    assert min(part.tokens for part in in_parts.parts) < steps
    whole = in_parts._replace(parts=(Part(slice(0, 7), steps, cells),))
    found, gradients = [], []
    for one in (in_parts, whole):
        net = network()
        total, parts = AlignedCrossEntropy(0.1, mutual=0.5, aligned_layers=2)(net, one)
        total.backward()  # type: ignore[no-untyped-call]
        found.append(parts)
        gradients.append({name: each.grad for name, each in net.named_parameters()})
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_without_known_ink_only_tokens_cost() -> None:
    made = [
        Expression(each.identifier, "", each.caption, each.strokes, ((),) * len(each.caption))
        for each in expressions(3)
    ]
    plain = collate(made, [draw(each) for each in made], vocabulary())
    found = losses(network(), plain, 0.1, 2)
    assert found["alignment"] == found["symbols"] == 0
    assert found["tokens"] > 0
    sum(found.values()).backward()  # type: ignore[union-attr]


def test_the_alignment_is_the_attention_off_the_ink_token_by_token() -> None:
    """Summed up step by step: each direction, each layer, each token that has ink."""
    net, one = network(), batch(3)
    memory = net.encode(one.images)
    total, tokens = 0.0, 0
    with torch.no_grad():
        for row, made in enumerate(expressions(3)):
            alone = Memory(*(part[row : row + 1] for part in memory))
            for direction, order in ((0, 1), (1, -1)):
                inks = list(one.ink[row, : len(made.caption)])[::order]
                _, attentions = net.decoder(one.inputs[row : row + 1, direction], alone)
                for step, (known, ink) in enumerate(zip(made.ink[::order], inks, strict=True)):
                    if known:
                        tokens += 1
                        own = (ink > 0) & (memory.bias[row] == 0)
                        for attention in attentions:
                            mass = attention[0, :, step].mean(dim=0)[own].sum()
                            total -= math.log(float(mass) + 1e-6)
    found = losses(net, one, 0.0, 2)["alignment"].item()
    assert found == pytest.approx(total / tokens / 2, rel=1e-3)


def test_the_alignment_is_that_of_the_layers_named() -> None:
    net, one = network(), batch()
    last, both, many = (losses(net, one, 0.1, layers)["alignment"] for layers in (1, 2, 9))
    assert losses(net, one, 0.1, 0)["alignment"] == 0
    assert last != both
    assert both == many  # there are but two


def test_attention_on_the_ink_costs_nothing() -> None:
    """Where a formula has but one cell with ink, all attention falls on the token's own."""
    net = network()
    dot = Expression("dot", "", ("-",), (np.zeros((1, 2), np.float32),), ((0,),))
    image = np.zeros((32, 32), np.uint8)
    image[12, 12] = 255
    one = collate([dot], [Drawing(image, [np.array([[12.5, 12.5]])])], vocabulary())
    assert net.inked(one.images).sum() == 1
    assert losses(net, one, 0.0, 2)["alignment"].item() == pytest.approx(0, abs=1e-5)
    assert losses(net, batch(), 0.0, 2)["alignment"].item() > 0.1


def test_symbols_are_asked_of_cells_with_their_ink() -> None:
    """Logits that say the right symbol in every cell cost less than any others."""
    words, net, one = vocabulary(), network(), batch(1)
    assert net.symbol_head is not None
    with torch.no_grad():
        net.symbol_head.weight.zero_()
        net.symbol_head.bias.zero_()
    blind = losses(net, one, 0.0, 2)["symbols"]
    torch.testing.assert_close(blind, torch.tensor(math.log(len(words))), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        for token in set(expressions(1)[0].caption):
            net.symbol_head.bias[words.index[token]] = 5.0
    assert losses(net, one, 0.0, 2)["symbols"] < blind


def test_the_total_is_the_weighted_sum_of_the_parts() -> None:
    found = AlignedCrossEntropy(0.1, alignment=0.7, symbols=0.2)(network(), batch())
    parts = found.parts
    expected = parts["tokens"] + 0.7 * parts["alignment"] + 0.2 * parts["symbols"]
    torch.testing.assert_close(found.total, expected)


def test_a_tiny_batch_is_learnt_by_heart() -> None:
    torch.manual_seed(0)
    net, one = network().train(), batch()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    history = []
    for _ in range(30):
        found = losses(net, one, 0.0, 2)
        total = found["tokens"] + 0.3 * found["alignment"] + 0.5 * found["symbols"]
        assert torch.isfinite(total)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append([float(value.detach()) for value in found.values()])
    for first, last in zip(history[0], history[-1], strict=True):
        assert last < 0.6 * first
