from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inktex.core.interface import interface_problems
from inktex.training.decoding import greedy_captions
from inktex.training.objectives import CrossEntropy

from . import recurrent, synthetic


@pytest.mark.parametrize("name", recurrent.NAMES)
def test_the_interface_is_that_of_the_tensors(name: str) -> None:
    made = recurrent.network(name)
    interface = made.interface()
    assert list(interface_problems(interface)) == []
    assert interface.memory_bias == ""
    with torch.no_grad():
        memory = made.encode(torch.rand(1, 1, 32, 48))
        state = made.start(memory, 3)
        log_probs, following = made.step(torch.ones(3).long(), torch.tensor([0]), memory, state)
    sizes = {"beams": 3, "rows": 2, "columns": 3, "batch": 1}
    given = [torch.ones(3), torch.ones(1), *memory, *state]
    for specs, tensors in (
        (interface.memory, memory),
        (interface.step.inputs, given),
        (interface.step.outputs, [log_probs, *following]),
    ):
        for spec, tensor in zip(specs, tensors, strict=True):
            shape = tuple(sizes[each] if isinstance(each, str) else each for each in spec.shape)
            assert tuple(tensor.shape) == shape, spec.name
    assert [each.name for each in interface.memory] == [
        f"memory_{field}" for field in made.memory_type._fields
    ]
    assert [each.input for each in interface.state] == list(made.state_type._fields)
    torch.testing.assert_close(log_probs.exp().sum(dim=1), torch.ones(3))


def test_in_training_it_remembers_what_it_encodes() -> None:
    made, images = recurrent.network("coverage"), torch.rand(2, 1, 32, 48)
    with torch.no_grad():
        for one, other in zip(made.remember(images), made.encode(images), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", recurrent.NAMES)
def test_a_caption_does_not_depend_on_its_batch(name: str) -> None:
    """Where all are on paper of one size."""
    made, images = recurrent.network(name), recurrent.batch(3).images
    position = torch.tensor([0])

    def first_step(images: Tensor) -> Tensor:
        memory = made.remember(images)
        tokens = torch.full((len(images),), synthetic.vocabulary().sos)
        log_probs: Tensor = made.step(tokens, position, memory, made.start(memory, len(images)))[0]
        return log_probs

    with torch.no_grad():
        alone = torch.cat([first_step(images[row : row + 1]) for row in range(3)])
        torch.testing.assert_close(alone, first_step(images), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(alone[0], alone[1])


def test_it_reads_as_long_as_it_may() -> None:
    made, words = recurrent.network("coverage"), synthetic.vocabulary()
    with torch.no_grad():
        made.decoder.classifier.bias[words.eos] = -20.0
    [caption] = greedy_captions(made, synthetic.expressions(1), words)
    assert len(caption) == made.max_length == 24


def test_reading_does_not_ask_the_mirror() -> None:
    made = recurrent.network("abm")
    assert made.mirror is not None
    assert recurrent.network("coverage").mirror is None
    own = {id(each) for each in made.decoder.parameters()}
    assert not own & {id(each) for each in made.mirror.parameters()}
    before = greedy_captions(made, synthetic.expressions(2), synthetic.vocabulary())
    made.mirror = None
    assert greedy_captions(made, synthetic.expressions(2), synthetic.vocabulary()) == before


def test_what_is_learnt_by_heart_is_read() -> None:
    made, formulas = recurrent.network("coverage", model__dropout="0"), synthetic.expressions(3)
    history = recurrent.learn(made, CrossEntropy(), 90)
    assert history[-1]["tokens"] < 0.05 * history[0]["tokens"]
    captions = greedy_captions(made, formulas, synthetic.vocabulary())
    assert captions == [list(each.caption) for each in formulas]
