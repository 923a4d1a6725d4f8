from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from inktex.core.interface import interface_problems
from inktex.core.rendering import Rendering, render_ink
from inktex.export.golden import STEPS, golden_arrays, golden_image
from inktex.export.graphs import EncoderGraph, InkedEncoderGraph, StepGraph, folded, read_greedily
from inktex.training.batches import collate, draw
from inktex.training.decoding import greedy_captions
from inktex.training.preprocessing import preprocessing

from ..training.synthetic import expressions, network, vocabulary

PREPROCESSING = preprocessing(Rendering())


def test_folding_the_norms_away_changes_nothing_but_their_number() -> None:
    net = network()
    images = torch.rand(2, 1, 32, 64)
    plain = folded(net)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in plain.modules())
    assert any(isinstance(each, nn.BatchNorm2d) for each in net.modules())
    with torch.no_grad():
        for one, other in zip(plain.encode(images), net.encode(images), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_network_in_training_is_exported_as_it_evaluates() -> None:
    net = network().train()
    images = torch.rand(1, 1, 32, 64)
    with torch.no_grad():
        keys = EncoderGraph(net)(images)[0]
        torch.testing.assert_close(keys, net.eval().encode(images).keys[0], atol=1e-4, rtol=1e-4)
    step = StepGraph(network().train())
    assert not any(each.training for each in step.network.modules())


def test_the_interface_names_what_the_network_has() -> None:
    interface = network().interface()
    assert list(interface_problems(interface)) == []
    for layer in (0, 1):
        assert interface.encoder[f"memory_keys_{layer}"].shape == ("batch", 2, "cells", 8)
        assert interface.step[f"memory_values_{layer}"].shape == (1, 2, "cells", 8)
        assert interface.step[f"cache_keys_{layer}"].shape == ("length", "beams", 2, 8)
        assert interface.step[f"coverage_{layer}"].shape == (1, 2, "beams", "cells")
    assert [each.in_place for each in interface.state] == [True] * 4 + [False] * 2
    assert interface.step["log_probs"].shape == ("beams", len(vocabulary()))
    assert [state.output for state in interface.state] == [
        f"next_{state.input}" for state in interface.state
    ]


def test_greedy_search_in_the_graphs_is_that_of_the_training() -> None:
    net, words = network(), vocabulary()
    encoder, step = EncoderGraph(net), StepGraph(net)
    made = expressions(3)
    expected = greedy_captions(net, made, words, batch_size=1)
    for each, caption in zip(made, expected, strict=True):
        images = collate([each], [draw(each)], words).images
        reading = read_greedily(encoder, step, images, words)
        assert words.decode(reading.tokens) == caption
        assert len(reading.log_probs) == len(reading.tokens) + (
            len(reading.tokens) < net.decoder.max_length
        )


def test_only_cells_with_ink_are_remembered() -> None:
    """Those that an image of the batch has ink in, in their order; all of blank paper."""
    net = network()
    images = torch.zeros(2, 1, 32, 48)
    with torch.inference_mode():
        blank, all_blank = InkedEncoderGraph(net)(images), EncoderGraph(net)(images)
        images[0, 0, 3, 3:21] = 1.0  # cells 0 to 2
        images[1, 0, 9, 17] = 1.0  # cell 8
        inked, whole = InkedEncoderGraph(net)(images), EncoderGraph(net)(images)
    for one, other, every, each in zip(blank, all_blank, inked, whole, strict=True):
        torch.testing.assert_close(one, other)
        expected = each if each.ndim == 2 else each[:, :, [0, 1, 2, 8]]
        torch.testing.assert_close(every, expected)


def test_golden_arrays_are_what_torch_computes() -> None:
    net, words = network(), vocabulary()
    arrays = golden_arrays(net, net.interface(), words, PREPROCESSING)
    image = arrays["encoder.images"]
    np.testing.assert_array_equal(image, golden_image(PREPROCESSING))
    assert image.dtype == np.float32
    assert image.shape[2] % 16 == image.shape[3] % 16 == 0
    assert image.max() == 1.0
    with torch.inference_mode():
        memory = net.encode(torch.from_numpy(image))
    inked = memory.bias[0] == 0
    assert 0 < inked.sum() < len(inked)
    for spec, tensor in zip(net.interface().memory, memory, strict=True):
        kept = tensor if tensor.ndim == 2 else tensor[:, :, inked]
        np.testing.assert_allclose(arrays[f"encoder.{spec.name}"], kept, atol=1e-4)
    state = net.decoder.start(memory, 1)
    tokens = [words.sos, *arrays["greedy"].tolist()]
    for number in range(STEPS):
        assert arrays[f"step.{number}.tokens"].tolist() == [tokens[number]]
        with torch.inference_mode():
            log_probs, state = net.decoder.step(
                torch.tensor([tokens[number]]), torch.tensor([number]), memory, state
            )
        np.testing.assert_allclose(arrays[f"step.{number}.log_probs"], log_probs, atol=1e-4)
    assert arrays["greedy"].dtype == np.int64


def test_the_golden_image_is_at_the_scale_of_the_recognizer() -> None:
    """An x of 19 units and a 2 of 12 above it, as the same strokes come out elsewhere."""
    image = golden_image(PREPROCESSING)[0, 0]
    rows = np.flatnonzero(image.any(axis=1))
    like = render_ink([np.array([[0.0, 0.0], [18.0, 19.0]]), np.array([[22.0, -10], [31, 2]])])
    assert abs((rows[-1] - rows[0] + 1) - (like.any(axis=1).sum())) <= 2
    large = golden_image(preprocessing(Rendering(32.0, 3.5)))[0, 0]
    assert large.any(axis=1).sum() == pytest.approx(2 * len(rows), abs=3)
