from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inktex.core.errors import BundleError, InputError
from inktex.core.interface import GraphSpec, StateSpec, TensorSpec
from inktex.core.manifest import Manifest
from inktex.core.recognizer import Recognizer
from inktex.runtimes.graph_memory import GraphMemory, compact_memories
from inktex.runtimes.graph_model import (
    FIRST_LENGTH,
    Arrays,
    GraphModel,
    Graphs,
    GraphState,
    longest,
)


def with_length(manifest: Manifest, length: int | str, steps: int = 100) -> Manifest:
    """The tiny manifest with caches of another length."""

    def lengthened(spec: TensorSpec) -> TensorSpec:
        shape = list(spec.shape)
        if "cache" in spec.name:
            shape[3] = length
        return replace(spec, shape=tuple(shape))

    step = manifest.interface.step
    graph = GraphSpec(tuple(map(lengthened, step.inputs)), tuple(map(lengthened, step.outputs)))
    return replace(
        manifest,
        interface=replace(manifest.interface, step=graph),
        decoding=replace(manifest.decoding, max_length=steps),
    )


def test_the_shortest_limit_counts(tiny_manifest: Manifest) -> None:
    assert longest(with_length(tiny_manifest, 24, 100)) == 24
    assert longest(with_length(tiny_manifest, 24, 10)) == 10
    assert longest(with_length(tiny_manifest, "length", 100)) == 100


def test_caches_grow_and_keep_what_they_hold(tiny_manifest: Manifest) -> None:
    """A step that writes its position into the cache, as a decoder writes its keys."""
    manifest = with_length(tiny_manifest, "length")
    lengths: list[int] = []

    def encoder(inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        return {
            "memory_keys": np.zeros((1, 1, 2, 6, 4), np.float32),
            "memory_values": np.zeros((1, 1, 2, 6, 4), np.float32),
            "memory_bias": np.zeros((1, 6), np.float32),
        }

    def step(inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        cache = inputs["cache_keys"].copy()
        position = int(inputs["position"][0])
        assert cache[0, 0, 0, :position, 0].tolist() == list(range(1, position + 1))
        cache[:, :, :, position] = position + 1
        lengths.append(cache.shape[3])
        return {
            "log_probs": np.zeros((len(inputs["tokens"]), 14), np.float32),
            "next_cache_keys": cache,
            "next_cache_values": inputs["cache_values"],
            "next_coverage": inputs["coverage"],
        }

    model = GraphModel(manifest, Graphs(encoder, step))
    [memory] = model.encode(np.zeros((1, 1, 32, 48), np.float32))
    state = model.start(memory, 2)
    for _ in range(100):
        _, state = model.step(np.array([1, 1]), memory, state)
    assert list(dict.fromkeys(lengths)) == [FIRST_LENGTH, 64, 100]
    with pytest.raises(InputError, match="at most 100 tokens"):
        model.step(np.array([1, 1]), memory, state)


@pytest.mark.parametrize(
    ("length", "steps", "wanted"),
    [(24, 10, 24), ("length", 100, FIRST_LENGTH), ("length", 10, 10)],
)
def test_a_draft_goes_on_in_a_cache_as_long_as_the_graph_wants_it(
    length: int | str, steps: int, wanted: int
) -> None:
    cache = TensorSpec("cache", "float32", ("beams", length, 4))
    nodes = TensorSpec("next_cache", "float32", (1, "nodes", 4))
    interface = SimpleNamespace(
        state=(StateSpec("cache", "next_cache", 1),),
        step=GraphSpec((cache,), ()),
        tree=GraphSpec((), (nodes,)),
        memory=(),
    )
    decoding = SimpleNamespace(max_length=steps)
    manifest: Any = SimpleNamespace(interface=interface, vocabulary=range(5), decoding=decoding)
    graphs: Any = Graphs(lambda inputs: {}, lambda inputs: {})
    model, memory = GraphModel(manifest, graphs), GraphMemory({}, {}, None)
    assert model.start(memory, 1).arrays["cache"].shape == (1, wanted, 4)
    found = model.resume({"next_cache": np.ones((1, 7, 4), np.float32)}, np.arange(3), memory)
    assert found.position == 3
    assert found.arrays["cache"].shape == (1, wanted, 4)
    assert found.arrays["cache"].sum() == 12


def test_what_is_larger_than_was_declared_is_refused(tiny_manifest: Manifest) -> None:
    calls = []

    def encoder(inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        calls.append(inputs["images"].shape)
        count, _, height, width = inputs["images"].shape
        cells = height * width // 256
        return {
            "memory_keys": np.zeros((count, 1, 2, cells, 4), np.float32),
            "memory_values": np.zeros((count, 1, 2, cells, 4), np.float32),
            "memory_bias": np.zeros((count, cells), np.float32),
        }

    limits = {"batch": 1, "height": 64, "width": 128, "cells": 20, "beams": 3}
    model = GraphModel(tiny_manifest, Graphs(encoder, lambda inputs: {}), limits)
    memories = model.encode(np.zeros((2, 1, 48, 80), np.float32))
    assert [memory.sizes["cells"] for memory in memories] == [15, 15]
    assert calls == [(1, 1, 48, 80)] * 2  # one by one
    for shape, told in (
        ((80, 80), "height: expected at most 64"),
        ((64, 96), "cells: .* found 24"),
    ):
        with pytest.raises(InputError, match=told):
            model.encode(np.zeros((1, 1, *shape), np.float32))
    model.start(memories[0], 3)
    with pytest.raises(InputError, match=r"beams: expected at most 3, .* found 4"):
        model.start(memories[0], 4)
    with pytest.raises(InputError, match=r"beams: expected at most 3, .* found 4"):
        model.reorder(model.start(memories[0], 1), np.array([0, 0, 0, 0]))


def test_no_more_beams_are_followed_than_were_declared(tiny_manifest: Manifest) -> None:
    wide = replace(tiny_manifest, decoding=replace(tiny_manifest.decoding, beams=5))
    graphs = Graphs(lambda inputs: {}, lambda inputs: {})
    recognizer = Recognizer(GraphModel(wide, graphs, {"beams": 2}), wide)
    assert recognizer._widths(None, 1) == (2, 1)
    assert Recognizer(GraphModel(wide, graphs), wide)._widths(None, 1) == (5, 1)
    for beam, nbest in ((3, 1), (None, 3)):
        with pytest.raises(InputError, match=r"beam: expected at most 2, .* found 3"):
            recognizer._widths(beam, nbest)


def test_a_decoder_without_coverage_says_so(tiny_manifest: Manifest) -> None:
    model = GraphModel(tiny_manifest, Graphs(lambda inputs: {}, lambda inputs: {}))
    model.interface = replace(model.interface, state=model.interface.state[:2])
    memory = GraphMemory({}, {"cells": 4}, None)
    state = GraphState({"hidden": np.zeros((1, 2), np.float32)}, 0, memory)
    with pytest.raises(BundleError, match=r"expected .* a state named 'coverage'"):
        model.coverage(state)


def test_the_memory_is_that_of_the_cells_with_ink(tiny_manifest: Manifest) -> None:
    """Whether the encoder left the others out or not; of an image without ink something is left."""
    masked = np.array([[0, -1e4, -1e4, 0, -1e4], [-1e4, -1e4, 0, 0, -1e4], [-1e4] * 5])
    keys = np.arange(3 * 2 * 5 * 4.0).reshape(3, 1, 2, 5, 4)
    whole = {"memory_keys": keys, "memory_values": -keys, "memory_bias": masked}
    left = [0, 2, 3]
    inked = {**whole, "memory_keys": keys[:, :, :, left], "memory_values": -keys[:, :, :, left]}
    kept = [[0, 3], [2, 3], left]
    for arrays in (whole, inked):
        memories = compact_memories(tiny_manifest.interface, arrays)
        for number, (memory, cells) in enumerate(zip(memories, kept, strict=True)):
            assert memory.sizes["cells"] == len(cells)
            assert memory.kept is not None
            assert np.flatnonzero(memory.kept).tolist() == cells
            np.testing.assert_array_equal(
                memory.arrays["memory_keys"], keys[number : number + 1, :, :, cells]
            )
            np.testing.assert_array_equal(
                memory.arrays["memory_bias"], masked[number : number + 1, cells]
            )
    blank = {name: array[2:] for name, array in whole.items()}
    [memory] = compact_memories(tiny_manifest.interface, blank)
    assert memory.kept is None
    assert memory.sizes["cells"] == 5
