from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from inktex.core.bundle import Bundle
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.graphs import EncoderGraph, StepGraph, folded
from inktex.export.parity import compare_with_golden, compare_with_torch
from inktex.export.plain_graphs import graphs_of
from inktex.runtimes import load
from inktex.training.checkpoint import Checkpoint
from inktex.training.decoding import reader
from inktex.training.recurrent_decoder import CoverageAggregation
from inktex.training.recurrent_recognizer import RecurrentRecognizer

from ..training import recurrent
from ..training.synthetic import expressions


@pytest.fixture(scope="session", params=recurrent.NAMES)
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    """A tiny recurrent recognizer, hardly trained."""
    name: str = request.param
    return recurrent.checkpoint(name)


@pytest.fixture(scope="session")
def bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`checkpoint` as the exporter writes it. Not to be changed."""
    folder = tmp_path_factory.mktemp(checkpoint.recipe.name)
    return export_bundle(checkpoint, folder / "bundle")


def network_of(checkpoint: Checkpoint) -> RecurrentRecognizer:
    network = checkpoint.trained_network()
    assert isinstance(network, RecurrentRecognizer)
    return network


def model(bundle: Bundle, part: str) -> onnx.ModelProto:
    return onnx.load_from_string(bundle.read(f"{part}.fp32.onnx"))


def weights(bundle: Bundle, part: str) -> dict[str, NDArray[np.float32]]:
    return {
        each.name: numpy_helper.to_array(each) for each in model(bundle, part).graph.initializer
    }


def holds(found: dict[str, NDArray[np.float32]], parameter: torch.Tensor) -> bool:
    """Is it among the weights, in whatever shape and order?"""
    wanted = np.sort(parameter.detach().numpy().ravel())
    return any(
        each.size == wanted.size and np.array_equal(np.sort(each.ravel()), wanted)
        for each in found.values()
    )


@pytest.mark.parametrize("name", recurrent.NAMES)
def test_folding_changes_nothing_but_the_number_of_layers(name: str) -> None:
    network, images = recurrent.network(name), torch.rand(2, 1, 32, 64)
    plain = folded(network)
    gone = (CoverageAggregation, nn.BatchNorm2d)
    assert isinstance(plain, RecurrentRecognizer)
    assert isinstance(plain.decoder.aggregation, nn.Conv2d)
    assert not any(isinstance(each, gone) for each in plain.modules())
    assert isinstance(network.decoder.aggregation, CoverageAggregation)
    tokens = torch.tensor([4, 5])
    with torch.no_grad():
        memory, expected = plain.encode(images), network.encode(images)
        state, reference = plain.start(memory, 2), network.start(expected, 2)
        for one, other in zip(memory, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        for number in range(3):
            position = torch.tensor([number])
            log_probs, state = plain.step(tokens, position, memory, state)
            likewise, reference = network.step(tokens, position, expected, reference)
            torch.testing.assert_close(log_probs, likewise, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 48), (80, 32)])
@pytest.mark.parametrize("beams", [1, 3])
def test_every_step_is_that_of_torch(
    bundle: Bundle, checkpoint: Checkpoint, height: int, width: int, beams: int
) -> None:
    rng = np.random.default_rng(0)
    graphs = graphs_of(bundle, bundle.manifest.variants[0])
    images = rng.random((2, 1, height, width), np.float32)
    encoded = graphs.encoder({"images": images})
    network = network_of(checkpoint)
    step = StepGraph(network)
    with torch.inference_mode():
        for array, tensor in zip(
            encoded.values(), EncoderGraph(network)(torch.from_numpy(images)), strict=True
        ):
            np.testing.assert_allclose(array, tensor.numpy(), atol=1e-4)
        memory = {name: array[1:] for name, array in encoded.items()}
        tensors = [torch.from_numpy(array) for array in memory.values()]
        reference = list(network.start(network.memory_type(*tensors), beams))
        state = [tensor.numpy() for tensor in reference]
        names = [each.input for each in bundle.manifest.interface.state]
        for number in range(4):
            tokens, position = rng.integers(2, 12, beams), np.array([number])
            found = graphs.step(
                {
                    "tokens": tokens,
                    "position": position,
                    **memory,
                    **dict(zip(names, state, strict=True)),
                }
            )
            expected = step(
                torch.from_numpy(tokens), torch.from_numpy(position), *tensors, *reference
            )
            for (name, array), tensor in zip(found.items(), expected, strict=True):
                np.testing.assert_allclose(array, tensor.numpy(), atol=1e-4, err_msg=name)
            reference, state = list(expected[1:]), list(found.values())[1:]
    assert state[1].shape == (beams, 1, height // 16, width // 16)
    np.testing.assert_allclose(state[1].sum(axis=(1, 2, 3)), 4, rtol=1e-4)  # one a step


def test_whole_sequences_are_those_of_torch(bundle: Bundle, checkpoint: Checkpoint) -> None:
    """Greedily and with beams, through the runtime that a device has."""
    device = load(bundle)
    torch_reader = reader(checkpoint.trained_network(), checkpoint.vocabulary)
    answers = set()
    for each in expressions(3):
        strokes = [stroke.astype(np.float64) for stroke in each.strokes]
        for beam, constrain in product((1, 3), (False, True)):
            found = device(strokes, beam=beam, constrain=constrain)
            expected = torch_reader(strokes, beam=beam, constrain=constrain)
            assert found.tokens == expected.tokens
            assert found.confidence == pytest.approx(expected.confidence, rel=1e-2)
            answers.add(found.tokens)
    assert len(answers) > 3
    assert all(answers)


def test_the_bundle_proves_itself(bundle: Bundle, checkpoint: Checkpoint) -> None:
    [variant] = bundle.manifest.variants
    report = compare_with_torch(bundle, variant, checkpoint, expressions(2), shapes=3, steps=3)
    assert report.passed, report
    assert {each.name for each in report.tensors} == {
        "memory_features",
        "memory_keys",
        "memory_initial",
        "log_probs",
        "next_hidden",
        "next_coverage",
    }
    assert compare_with_golden(bundle, variant).passed
    assert {f"encoder.{each.name}" for each in bundle.manifest.interface.memory} < set(
        bundle.golden()
    )


def test_the_second_decoder_is_not_exported(bundle: Bundle, checkpoint: Checkpoint) -> None:
    network = network_of(checkpoint)
    both = {**weights(bundle, "encoder"), **weights(bundle, "step")}
    assert holds(both, network.decoder.embedding.weight)
    assert holds(both, network.decoder.initial.weight)
    assert not any("mirror" in name for name in both)
    mirrored = list(network.mirror.parameters()) if network.mirror else []
    assert bool(mirrored) is (checkpoint.recipe.name == "abm")
    assert not any(holds(both, parameter) for parameter in mirrored)
    decoder = folded(network)
    assert isinstance(decoder, RecurrentRecognizer)
    kept = sum(each.numel() for each in decoder.decoder.parameters())
    kept += sum(each.numel() for each in decoder.encoder.parameters())
    # a few constants come with them, and no decoder
    assert kept <= sum(each.size for each in both.values()) < 1.05 * kept


def test_what_does_not_depend_on_the_step_is_not_in_it(
    bundle: Bundle, checkpoint: Checkpoint
) -> None:
    network = network_of(checkpoint)
    encoder, step = weights(bundle, "encoder"), weights(bundle, "step")
    for hoisted in (network.decoder.keys.weight, network.decoder.initial.weight):
        assert holds(encoder, hoisted)
        assert not holds(step, hoisted)
    convolutions = [
        step[node.input[1]].shape
        for node in model(bundle, "step").graph.node
        if node.op_type == "Conv"
    ]
    attention = network.decoder.keys.weight.shape[0]
    assert sorted(convolutions) == [(1, attention, 1, 1), (attention, 1, 11, 11)]
    assert "position" in [each.name for each in model(bundle, "step").graph.input]


def test_other_targets_take_recurrent_recognizers(tmp_path: Path) -> None:
    checkpoint = recurrent.checkpoint("coverage")
    made = export_bundle(checkpoint, tmp_path / "bundle", targets=["executorch", "openvino", "ort"])
    for variant in made.manifest.variants:
        report = compare_with_torch(made, variant, checkpoint, expressions(2), shapes=3)
        assert report.passed, str(report)
        assert report.agreement.equal == 2
