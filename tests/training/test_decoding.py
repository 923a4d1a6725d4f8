from __future__ import annotations

import torch

from inktex.training.batches import collate, draw
from inktex.training.decoding import greedy_captions
from inktex.training.objectives import AlignedCrossEntropy

from .synthetic import expressions, network, vocabulary


def test_a_network_that_knows_its_formulas_writes_them_in_order() -> None:
    """Learnt by heart until every caption comes out; in batches of other sizes too."""
    torch.manual_seed(0)
    net, words = network().train(), vocabulary()
    made = expressions(4)
    batch = collate(made, [draw(each) for each in made], words)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    wanted = [list(each.caption) for each in made]
    for step in range(1, 401):
        found = AlignedCrossEntropy(0.0, symbols=0.0)(net, batch)
        optimizer.zero_grad()
        found.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 20 == 0 and greedy_captions(net, made, words) == wanted:
            break
    assert net.training  # as it was before
    assert greedy_captions(net, made, words) == wanted
    assert greedy_captions(net, made[::-1], words, batch_size=1) == wanted[::-1]
    short = greedy_captions(net, made, words, max_length=2)
    assert short == [caption[:2] for caption in wanted]


def test_captions_end_at_the_limit_of_the_network() -> None:
    net, words = network(), vocabulary()
    with torch.no_grad():
        net.decoder.classifier.weight.zero_()
        net.decoder.classifier.bias.zero_()
        net.decoder.classifier.bias[words.index["x"]] = 9.0
    assert greedy_captions(net, expressions(2), words) == [["x"] * net.decoder.max_length] * 2
    assert not net.training
    assert greedy_captions(net, [], words) == []
