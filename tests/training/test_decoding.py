from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inktex.core.attention import attentive
from inktex.core.errors import RuntimeUnavailable
from inktex.core.search import beam_search
from inktex.core.step_model import StepModel
from inktex.runtimes import load
from inktex.training.batches import collate, draw
from inktex.training.decoding import TorchModel, TorchState, caption_loss, greedy_captions, reader
from inktex.training.objectives import AlignedCrossEntropy, CrossEntropy
from inktex.training.transformer_decoder import Memory

from .synthetic import bundle, expressions, network, vocabulary


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


def images(number: int) -> np.ndarray:
    """float32 [1, 1, h, w] of formula `number`"""
    made = expressions(number + 1)[-1:]
    return collate(made, [draw(each) for each in made], vocabulary()).images.numpy()


def test_a_network_is_a_step_model() -> None:
    """Rows of a state go their own ways; one alone gives what it gives among others."""
    net = network()
    model: StepModel[Memory, TorchState] = TorchModel(net)
    assert model.vocabulary_size == len(vocabulary())
    [memory] = model.encode(images(2))
    alone = []
    for path in ((3, 6, 5), (3, 4, 5)):
        state = model.start(memory, 1)
        for token in (1, *path):
            log_probs, state = model.step(np.array([token]), memory, state)
        alone.append(log_probs[0])
    state = model.start(memory, 1)
    _, state = model.step(np.array([1]), memory, state)
    state = model.reorder(state, np.array([0, 0, 0]))
    _, state = model.step(np.array([7, 3, 3]), memory, state)
    state = model.reorder(state, np.array([2, 1]))
    _, state = model.step(np.array([4, 6]), memory, state)
    state = model.reorder(state, np.array([1, 0]))
    log_probs, state = model.step(np.array([5, 5]), memory, state)
    assert log_probs.dtype == np.float32
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(log_probs, alone, atol=1e-4)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_a_batch_of_images_is_as_many_memories() -> None:
    model = TorchModel(network())
    both = np.concatenate([images(2), images(2)[:, :, ::-1]]).copy()
    for memory, image in zip(model.encode(both), both, strict=True):
        [alone] = model.encode(image[None])
        for each, expected in zip(memory, alone, strict=True):
            torch.testing.assert_close(each, expected)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("constrain", [True, False])
def test_a_checkpoint_reads_as_the_bundle_it_is_exported_to(
    tmp_path_factory: pytest.TempPathFactory, beam: int, constrain: bool
) -> None:
    exported = load(bundle(tmp_path_factory))
    own = reader(network(), vocabulary())
    for each in expressions(6):
        strokes = [stroke.astype(float) for stroke in each.strokes]
        found = own(strokes, beam=beam, nbest=beam, constrain=constrain)
        expected = exported(strokes, beam=beam, nbest=beam, constrain=constrain)
        assert found.tokens == expected.tokens
        assert found.score == pytest.approx(expected.score, abs=1e-3)
        assert [other.tokens for other in found.alternatives] == [
            other.tokens for other in expected.alternatives
        ]


def test_a_wider_beam_finds_what_is_at_least_as_likely() -> None:
    model = TorchModel(network())
    [memory] = model.encode(images(0))
    scores = [
        beam_search(model, memory, beams=beams, sos=1, eos=2, max_length=12, length_penalty=0)[
            0
        ].log_prob
        for beams in (1, 50)
    ]
    assert scores[1] >= scores[0]


def test_torch_tells_no_coverage() -> None:
    net = network()
    with pytest.raises(RuntimeUnavailable, match="TorchModel"):
        attentive(TorchModel(net), net.interface())


def test_the_loss_of_captions_is_that_of_the_objective() -> None:
    made, words, net = expressions(5), vocabulary(), network()
    losses, tokens = [], []
    for each in made:
        with torch.inference_mode():
            one = CrossEntropy()(net, collate([each], [draw(each)], words)).total
        losses.append(float(one))
        tokens.append(len(each.caption) + 1)
    found = caption_loss(net.train(), made, words, batch_size=2)
    assert found == pytest.approx(np.average(losses, weights=tokens), rel=1e-4)
    assert net.training
    net.eval()
    strange = replace(made[0], identifier="strange", caption=("\\Pi",), ink=((),))
    assert caption_loss(net, [*made, strange], words, batch_size=2) == pytest.approx(found)
    assert np.isnan(caption_loss(net, [strange], words))
    long = made[0].caption[:1] * net.max_length
    endless = replace(made[0], caption=long, ink=((),) * len(long))
    assert caption_loss(net, [*made, endless], words, batch_size=2) == pytest.approx(found)
    assert len(greedy_captions(net, [strange, *made], words)) == 6
