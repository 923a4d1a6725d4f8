from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import inktex.runtimes.cuda_store
import inktex.runtimes.tensorrt_runtime
from inktex.core.bundle import Bundle, Variant, write_bundle
from inktex.core.cli import main
from inktex.core.errors import BundleError, InputError, RuntimeUnavailable
from inktex.core.search import beam_search
from inktex.runtimes.cuda_store import CudaStore, DeviceArray
from inktex.runtimes.graph_model import GraphModel
from inktex.runtimes.tensorrt_engines import EngineCache
from inktex.runtimes.tensorrt_runtime import graphs, tensorrt_model

from .fake_tensorrt import HostDevice, fake_tensorrt
from .plain_model import EOS, SOS, PlainModel

LIMITS = {"batch": 1, "height": 256, "width": 512, "cells": 64, "beams": 8, "length": 64}


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Bundle) -> Bundle:
    """The tiny bundle, for TensorRT, in single precision."""
    [variant] = tiny_bundle.manifest.variants
    variant = Variant("tensorrt", "fp32", variant.encoder, variant.step, limits=LIMITS)
    manifest = replace(tiny_bundle.manifest, variants=(variant,))
    return write_bundle(tmp_path / "bundle", manifest, tiny_bundle.contents())


@pytest.fixture
def plain(tiny_bundle: Bundle) -> PlainModel:
    """The same graphs, run plainly."""
    return PlainModel(tiny_bundle)


@pytest.fixture
def device() -> HostDevice:
    return HostDevice()


def made(bundle: Bundle, device: HostDevice, works: bool = True) -> GraphModel:
    store = CudaStore(device)
    [variant] = bundle.manifest.variants
    found = graphs(fake_tensorrt(device, works=works), store, bundle, variant)
    return GraphModel(bundle.manifest, found, variant.limits, store)


def test_every_step_agrees_with_the_graphs_run_plainly(
    bundle: Bundle, plain: PlainModel, device: HostDevice, images: NDArray[np.float32]
) -> None:
    """Through growing, shrinking, repeated and permuted beams, and a cache that grows."""
    model = made(bundle, device)
    orders = [[0], [0, 0, 0], [2, 0, 1], [0, 1, 2], [1, 1], [1, 0, 0, 1, 1], [4, 2], *[[0, 1]] * 40]
    random = np.random.default_rng(7)
    steps = min(len(orders), model.max_length)
    for memory, expected_memory in zip(model.encode(images), plain.encode(images), strict=True):
        state, expected_state = model.start(memory, 1), plain.start(expected_memory, 1)
        for order in orders[:steps]:
            tokens = random.integers(0, model.vocabulary_size, len(order))
            state = model.reorder(state, np.array(order))
            expected_state = plain.reorder(expected_state, np.array(order))
            log_probs, state = model.step(tokens, memory, state)
            expected, expected_state = plain.step(tokens, expected_memory, expected_state)
            np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)


def test_memory_and_state_stay_on_the_device(
    bundle: Bundle, device: HostDevice, images: NDArray[np.float32]
) -> None:
    model = made(bundle, device)
    [memory] = model.encode(images[:1])
    assert all(isinstance(each, DeviceArray) for each in memory.arrays.values())
    _, state = model.step(np.array([SOS]), memory, model.start(memory, 1))
    assert all(isinstance(each, DeviceArray) for each in state.arrays.values())
    before, allocated = device.uploads, device.allocations
    outputs = len(bundle.manifest.interface.step.outputs)
    for _ in range(3):
        _, state = model.step(np.array([5]), memory, state)
    # the fake writes outputs by uploading them; what is left are tokens and position
    assert device.uploads - before == 3 * (outputs + 2)
    assert device.allocations - allocated <= outputs + 2  # what one step gives back, the next takes


def test_beam_search_finds_what_it_finds_elsewhere(
    bundle: Bundle, plain: PlainModel, device: HostDevice, images: NDArray[np.float32]
) -> None:
    model = made(bundle, device)
    settings: dict[str, Any] = {"beams": 4, "sos": SOS, "eos": EOS, "max_length": 12}
    settings |= {"length_penalty": 1.0, "nbest": 3, "constraint": None}
    for memory, expected in zip(model.encode(images), plain.encode(images), strict=True):
        found = beam_search(model, memory, **settings)
        wanted = beam_search(plain, expected, **settings)
        assert [each.tokens for each in found] == [each.tokens for each in wanted]


def test_many_threads_at_once(
    bundle: Bundle, device: HostDevice, images: NDArray[np.float32]
) -> None:
    model = made(bundle, device)

    def read(number: int) -> NDArray[np.float32]:
        [memory] = model.encode(images[number % 3 : number % 3 + 1])
        state = model.start(memory, 2)
        for token in ([SOS, SOS], [5, 6], [7, 8]):
            log_probs, state = model.step(np.array(token), memory, state)
            state = model.reorder(state, np.array([1, 0]))
        return log_probs

    alone = [read(number) for number in range(3)]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(read, range(24))):
            np.testing.assert_array_equal(found, alone[number % 3])


def test_memory_is_free_again_when_the_model_is_gone(
    bundle: Bundle, device: HostDevice, images: NDArray[np.float32]
) -> None:
    model = made(bundle, device)
    [memory] = model.encode(images[:1])
    _, state = model.step(np.array([SOS]), memory, model.start(memory, 1))
    assert device.live
    del model
    gc.collect()
    assert device.live  # these still hold theirs
    del memory, state
    gc.collect()
    assert not device.live


def test_what_is_larger_than_the_engines_is_refused(bundle: Bundle, device: HostDevice) -> None:
    model = made(bundle, device)
    with pytest.raises(InputError, match="height: expected at most 256"):
        model.encode(np.zeros((1, 1, 272, 16), np.float32))


def test_large_images_take_the_wide_profile(
    bundle: Bundle, plain: PlainModel, device: HostDevice
) -> None:
    model = made(bundle, device)
    for height, width in ((48, 80), (160, 400), (64, 64)):  # the fake is strict about its profile
        image = np.zeros((1, 1, height, width), np.float32)
        image[0, 0, 16:32, 16:48] = 1
        [memory], [expected] = model.encode(image), plain.encode(image)
        log_probs, _ = model.step(np.array([SOS]), memory, model.start(memory, 1))
        wanted, _ = plain.step(np.array([SOS]), expected, plain.start(expected, 1))
        np.testing.assert_allclose(log_probs, wanted, rtol=1e-5, atol=1e-5)


def test_a_damaged_engine_is_made_anew(bundle: Bundle, device: HostDevice) -> None:
    made(bundle, device)
    files = sorted(EngineCache().folder.glob("*.engine"))
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"something else")
    made(bundle, device)
    assert all(file.read_bytes() != b"something else" for file in files)


def test_an_engine_that_is_refused_again_is_an_error(bundle: Bundle, device: HostDevice) -> None:
    library = fake_tensorrt(device)
    library.Runtime.deserialize_cuda_engine = lambda self, data: None
    [variant] = bundle.manifest.variants
    with pytest.raises(BundleError, match="refuses its own engine"):
        graphs(library, CudaStore(device), bundle, variant)


def test_a_run_that_fails_is_an_error(
    bundle: Bundle, device: HostDevice, images: NDArray[np.float32]
) -> None:
    with pytest.raises(RuntimeUnavailable, match="memory left on the GPU"):
        made(bundle, device, works=False).encode(images)


def test_without_tensorrt_or_gpu_one_error_says_what_to_do(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    [variant] = bundle.manifest.variants

    def missing() -> None:
        raise ImportError("No module named 'tensorrt'")

    monkeypatch.setattr(inktex.runtimes.tensorrt_runtime, "tensorrt", missing)
    with pytest.raises(RuntimeUnavailable, match="pip install tensorrt-rtx"):
        tensorrt_model(bundle, variant)
    done = CliRunner().invoke(main, ["build-engine", str(bundle.path)])
    assert (done.exit_code, "pip install tensorrt-rtx" in done.output) == (2, True)


def test_engines_are_built_ahead(
    bundle: Bundle, device: HostDevice, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = fake_tensorrt(device)
    monkeypatch.setattr(inktex.runtimes.tensorrt_runtime, "tensorrt", lambda: library)
    monkeypatch.setattr(inktex.runtimes.cuda_store, "Cuda", lambda: device)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["build-engine", str(bundle.path), *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert f"in {own_cache / 'engines'}" in run()
    assert len(library.built) == 2
    made(bundle, device)
    run()
    assert len(library.built) == 2  # both are there
    run("--anew")
    assert len(library.built) == 4
    failed = CliRunner().invoke(main, ["build-engine", str(bundle.path), "--precision", "int8"])
    assert (failed.exit_code, "found only tensorrt fp32" in failed.output) == (2, True)
