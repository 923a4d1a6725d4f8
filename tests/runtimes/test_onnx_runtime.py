from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from inktex.core.bundle import Bundle, GraphSpec, Manifest, TensorSpec, Variant, write_bundle
from inktex.core.errors import BundleError, InputError, RuntimeUnavailable
from inktex.core.search import beam_search, greedy
from inktex.core.step_model import StepModel
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel, OrtMemory, OrtState

SOS, EOS = 1, 2
Arrays = dict[str, NDArray[Any]]


class PlainModel:
    """The same graphs as slowly and plainly as can be: numpy states, whole copies, all cells."""

    def __init__(self, graphs: dict[str, bytes], bundle: Bundle) -> None:
        self.encoder = onnxruntime.InferenceSession(graphs["encoder.onnx"])
        self.decoder = onnxruntime.InferenceSession(graphs["step.onnx"])
        self.interface = bundle.manifest.interface
        self.vocabulary_size = len(bundle.manifest.vocabulary)

    def encode(self, images: NDArray[np.float32]) -> list[Arrays]:
        names = [spec.name for spec in self.interface.memory]
        outputs = self.encoder.run(names, {"images": images})
        return [
            {name: output[i : i + 1] for name, output in zip(names, outputs, strict=True)}
            for i in range(len(images))
        ]

    def start(self, memory: Arrays, beams: int) -> Arrays:
        sizes = {"beams": beams, "cells": memory["memory_bias"].shape[1]}
        state: Arrays = {"position": np.zeros(1, np.int64)}
        for each in self.interface.state:
            shape = [sizes.get(str(size), size) for size in self.interface.step[each.input].shape]
            state[each.input] = np.zeros(shape, np.float32)
        return state

    def step(
        self,
        tokens: NDArray[np.int64],
        memory: Arrays,
        state: Arrays,
    ) -> tuple[NDArray[np.float32], Arrays]:
        names = ["log_probs", *(each.output for each in self.interface.state)]
        log_probs, *outputs = self.decoder.run(names, {"tokens": tokens, **memory, **state})
        after = {each.input: out for each, out in zip(self.interface.state, outputs, strict=True)}
        return log_probs, {"position": state["position"] + 1, **after}

    def reorder(self, state: Arrays, order: NDArray[np.int64]) -> Arrays:
        return {
            name: array if name == "position" else array[:, order] for name, array in state.items()
        }


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> OnnxRuntimeModel:
    return OnnxRuntimeModel(tiny_bundle, tiny_bundle.variant("onnxruntime"), threads=1)


@pytest.fixture(scope="module")
def plain(tiny_bundle: Bundle, tiny_graphs: dict[str, bytes]) -> PlainModel:
    return PlainModel(tiny_graphs, tiny_bundle)


@pytest.fixture
def images() -> NDArray[np.float32]:
    """Three images with ink in about half of their 16 x 16 cells."""
    random = np.random.default_rng(5)
    images = random.random((3, 1, 48, 80), dtype=np.float32)
    cells = random.random((3, 1, 3, 5)) < 0.5
    images *= cells.repeat(16, axis=2).repeat(16, axis=3)
    return images


def test_it_is_a_step_model(model: OnnxRuntimeModel) -> None:
    checked: StepModel[OrtMemory, OrtState] = model
    assert checked.vocabulary_size == 14


def test_every_step_agrees_with_the_graphs_run_plainly(
    model: OnnxRuntimeModel, plain: PlainModel, images: NDArray[np.float32]
) -> None:
    """Through growing, shrinking, repeated, identical and permuted beams."""
    orders = [[0], [0, 0, 0], [2, 0, 1], [0, 1, 2], [1, 1], [1, 0, 0, 1, 1], [4, 2], [0, 1], [1]]
    random = np.random.default_rng(7)
    for memory, expected_memory in zip(model.encode(images), plain.encode(images), strict=True):
        state, expected_state = model.start(memory, 1), plain.start(expected_memory, 1)
        for order in orders:
            tokens = random.integers(0, model.vocabulary_size, len(order))
            state = model.reorder(state, np.array(order))
            expected_state = plain.reorder(expected_state, np.array(order))
            log_probs, state = model.step(tokens, memory, state)
            expected, expected_state = plain.step(tokens, expected_memory, expected_state)
            assert log_probs.dtype == np.float32
            np.testing.assert_allclose(log_probs, expected, atol=1e-5)


def test_the_coverage_is_that_of_all_cells(
    model: OnnxRuntimeModel, plain: PlainModel, images: NDArray[np.float32]
) -> None:
    for memory, expected_memory in zip(model.encode(images), plain.encode(images), strict=True):
        state, expected_state = model.start(memory, 1), plain.start(expected_memory, 1)
        assert not model.coverage(state).any()
        for order in ([0, 0], [1, 0], [1]):
            tokens = np.array([5, 7])[: len(order)]
            state = model.reorder(state, np.array(order))
            expected_state = plain.reorder(expected_state, np.array(order))
            _, state = model.step(tokens, memory, state)
            _, expected_state = plain.step(tokens, expected_memory, expected_state)
            found = model.coverage(state)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected_state["coverage"][:, 0], atol=1e-5)
        before = found.copy()
        _, after = model.step(tokens, memory, state)
        np.testing.assert_array_equal(found, before)  # not the buffer itself
        model.step(tokens, memory, model.step(tokens, memory, after)[1])
        with pytest.raises(RuntimeError, match="used up"):
            model.coverage(after)


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_searches_agree_with_the_graphs_run_plainly(
    model: OnnxRuntimeModel, plain: PlainModel, images: NDArray[np.float32], beams: int
) -> None:
    for memory, expected_memory in zip(model.encode(images), plain.encode(images), strict=True):
        found = beam_search(
            model, memory, beams=beams, nbest=beams, sos=SOS, eos=EOS, max_length=24
        )
        expected = beam_search(
            plain, expected_memory, beams=beams, nbest=beams, sos=SOS, eos=EOS, max_length=24
        )
        assert [each.tokens for each in found] == [each.tokens for each in expected]
        np.testing.assert_allclose(
            [each.log_prob for each in found], [each.log_prob for each in expected], atol=1e-4
        )


def test_a_batch_gives_what_each_image_gives(
    model: OnnxRuntimeModel, images: NDArray[np.float32]
) -> None:
    together = model.encode(images)
    for number, memory in enumerate(together):
        [alone] = model.encode(images[number : number + 1])
        assert memory.sizes == alone.sizes
        first, second = (
            greedy(model, each, sos=SOS, eos=EOS, max_length=24) for each in (memory, alone)
        )
        assert first.tokens == second.tokens


def test_cells_without_ink_are_left_out(
    model: OnnxRuntimeModel, images: NDArray[np.float32]
) -> None:
    inked = images.reshape(3, 3, 16, 5, 16).any(axis=(2, 4)).reshape(3, 15).sum(axis=1)
    assert [memory.sizes["cells"] for memory in model.encode(images)] == inked.tolist()
    [blank] = model.encode(np.zeros((1, 1, 32, 32), np.float32))
    assert blank.sizes["cells"] == 4, "an image without any ink keeps its cells"


def test_sizes_of_images_may_change(model: OnnxRuntimeModel, plain: PlainModel) -> None:
    random = np.random.default_rng(9)
    for height, width in ((16, 16), (48, 32), (16, 256), (32, 32)):
        image = random.random((1, 1, height, width), dtype=np.float32)
        [found], [expected] = model.encode(image), plain.encode(image)
        written = greedy(model, found, sos=SOS, eos=EOS, max_length=24)
        assert written.tokens == greedy(plain, expected, sos=SOS, eos=EOS, max_length=24).tokens


def test_the_state_never_moves(model: OnnxRuntimeModel, images: NDArray[np.float32]) -> None:
    """Greedy search and an unchanged order copy no state: two buffers serve all steps."""
    [memory, *_] = model.encode(images)
    state = model.start(memory, 2)
    places = set()
    for _ in range(6):
        assert model.reorder(state, np.array([0, 1])) is state
        arrays = state.buffers.views(2).arrays[state.slot]
        places.add(tuple(array.ctypes.data for array in arrays))
        _, state = model.step(np.array([SOS, 3]), memory, state)
    assert len(places) == 2


def test_returned_log_probabilities_are_kept(
    model: OnnxRuntimeModel, images: NDArray[np.float32]
) -> None:
    [memory, *_] = model.encode(images)
    first, state = model.step(np.array([SOS]), memory, model.start(memory, 1))
    before = first.copy()
    model.step(np.array([5]), memory, state)
    np.testing.assert_array_equal(first, before)


def test_a_state_that_is_used_up_is_refused(
    model: OnnxRuntimeModel, images: NDArray[np.float32]
) -> None:
    [memory, other, _] = model.encode(images)
    start = model.start(memory, 1)
    _, second = model.step(np.array([SOS]), memory, start)
    _, third = model.step(np.array([3]), memory, second)
    with pytest.raises(RuntimeError, match="used up"):
        model.step(np.array([3]), memory, start)
    with pytest.raises(RuntimeError, match="used up"):
        model.reorder(start, np.array([0, 0]))
    with pytest.raises(RuntimeError, match="another memory"):
        model.step(np.array([3]), other, third)


def test_a_full_cache_is_refused(model: OnnxRuntimeModel, images: NDArray[np.float32]) -> None:
    [memory, *_] = model.encode(images)
    state = model.start(memory, 1)
    for _ in range(24):
        _, state = model.step(np.array([3]), memory, state)
    with pytest.raises(InputError, match="at most 24 tokens"):
        model.step(np.array([3]), memory, state)


def test_several_threads_at_once(model: OnnxRuntimeModel, images: NDArray[np.float32]) -> None:
    def read(number: int) -> tuple[int, ...]:
        [memory] = model.encode(images[number % 3 : number % 3 + 1])
        return beam_search(model, memory, beams=3, sos=SOS, eos=EOS, max_length=24)[0].tokens

    expected = [read(number) for number in range(3)] * 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(24))) == expected


def test_threads_are_set(tiny_bundle: Bundle) -> None:
    variant = tiny_bundle.variant("onnxruntime")
    assert OnnxRuntimeModel(tiny_bundle, variant, threads=3).threads == 3
    assert 1 <= OnnxRuntimeModel(tiny_bundle, variant).threads <= 4
    with pytest.raises(InputError, match="threads: expected 1 or more, found 0"):
        OnnxRuntimeModel(tiny_bundle, variant, threads=0)


Rebuild = Callable[..., OnnxRuntimeModel]


@pytest.fixture
def rebuilt(tmp_path: Path, tiny_manifest: Manifest, tiny_graphs: dict[str, bytes]) -> Rebuild:
    """Writes the tiny bundle with another manifest or other graphs, and loads it."""

    def load(manifest: Manifest = tiny_manifest, **graphs: bytes) -> OnnxRuntimeModel:
        files = {**tiny_graphs, **{f"{name}.onnx": data for name, data in graphs.items()}}
        bundle = write_bundle(tmp_path / "b", manifest, files)
        return OnnxRuntimeModel(bundle, bundle.variant("onnxruntime"))

    return load


def test_a_corrupt_graph_is_refused(
    rebuilt: Rebuild, tiny_graphs: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    # still a well-formed protobuf message, but a node of an operator that does not exist
    broken = tiny_graphs["step.onnx"].replace(b"LogSoftmax", b"LogSoftmox")
    with pytest.raises(BundleError, match=r"refuses the graph 'step\.onnx'.*LogSoftmox"):
        rebuilt(step=broken)
    assert capfd.readouterr().err == ""


def test_graphs_that_are_not_as_the_manifest_says_are_refused(
    rebuilt: Rebuild, tiny_manifest: Manifest, tiny_graphs: dict[str, bytes]
) -> None:
    with pytest.raises(BundleError, match=r"the inputs of 'step\.onnx' are not as the manifest"):
        rebuilt(step=tiny_graphs["encoder.onnx"])
    interface = tiny_manifest.interface
    wider = GraphSpec(
        tuple(
            replace(spec, shape=(1, "beams", 2, 32, 4)) if "cache" in spec.name else spec
            for spec in interface.step.inputs
        ),
        tuple(
            replace(spec, shape=(1, "beams", 2, 32, 4)) if "cache" in spec.name else spec
            for spec in interface.step.outputs
        ),
    )
    manifest = replace(tiny_manifest, interface=replace(interface, step=wider))
    with pytest.raises(BundleError, match=r"\['cache_keys', 'cache_values'\]"):
        rebuilt(manifest)
    vocabulary = replace(tiny_manifest.vocabulary, tokens=tiny_manifest.vocabulary.tokens[:-1])
    with pytest.raises(BundleError, match=r"log-probabilities \[beams, 13\]"):
        rebuilt(replace(tiny_manifest, vocabulary=vocabulary))
    bytes_in = replace(
        interface.encoder, inputs=(TensorSpec("images", "uint8", ("batch", 1, "height", "width")),)
    )
    with pytest.raises(BundleError, match=r"the inputs of 'encoder\.onnx'"):
        rebuilt(replace(tiny_manifest, interface=replace(interface, encoder=bytes_in)))


def test_a_file_that_changes_after_opening_is_refused(
    tmp_path: Path, tiny_manifest: Manifest, tiny_graphs: dict[str, bytes]
) -> None:
    bundle = write_bundle(tmp_path / "b", tiny_manifest, tiny_graphs)
    file = bundle.path / "step.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"'step\.onnx' is damaged"):
        OnnxRuntimeModel(bundle, bundle.variant("onnxruntime"))


def test_without_onnxruntime_the_pip_command_is_named(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeUnavailable, match="pip install onnxruntime"):
        OnnxRuntimeModel(tiny_bundle, Variant("onnxruntime", "fp32", "encoder.onnx", "step.onnx"))
