"""What holds for every adapter: it computes what the graphs compute when they are run plainly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from inktex.core.attention import AttentiveModel
from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError, ExportError, InputError
from inktex.core.search import beam_search, greedy
from inktex.core.step_model import StepModel
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.parity import compare_with_golden, compare_with_torch
from inktex.runtimes import runtimes
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel

from ..training import synthetic
from .plain_model import EOS, SOS, PlainModel

RUNTIMES = ("onnxruntime", "openvino", "ort", "executorch")
Model: TypeAlias = AttentiveModel[Any, Any]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny recognizer, not trained, for every target whose runtime runs here."""
    path = tmp_path_factory.mktemp("all") / "bundle"
    return export_bundle(
        synthetic.checkpoint(), path, targets=["onnx", "openvino", "ort", "executorch"]
    )


@pytest.fixture(scope="module", params=RUNTIMES)
def model(request: pytest.FixtureRequest, bundle: Bundle) -> Model:
    make = runtimes()[request.param].load()
    made: Model = make(bundle, bundle.variant(request.param), 1)
    return made


@pytest.fixture(scope="module")
def plain(bundle: Bundle) -> PlainModel:
    return PlainModel(bundle)


def test_it_is_a_step_model(model: Model) -> None:
    checked: StepModel[Any, Any] = model
    assert checked.vocabulary_size == len(synthetic.vocabulary())


def test_every_step_agrees_with_the_graphs_run_plainly(
    model: Model, plain: PlainModel, images: NDArray[np.float32]
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
            np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)


def test_the_coverage_is_that_of_all_cells(
    model: Model, plain: PlainModel, images: NDArray[np.float32]
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
            expected = [expected_state[f"coverage_{layer}"][0, :, 0] for layer in (0, 1)]
            np.testing.assert_allclose(found, expected, atol=1e-5)
        before = found.copy()
        model.step(tokens, memory, state)
        np.testing.assert_array_equal(found, before)  # not the buffer itself


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_searches_agree_with_the_graphs_run_plainly(
    model: Model, plain: PlainModel, images: NDArray[np.float32], beams: int
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


def test_a_batch_gives_what_each_image_gives(model: Model, images: NDArray[np.float32]) -> None:
    together = model.encode(images)
    for number, memory in enumerate(together):
        [alone] = model.encode(images[number : number + 1])
        assert memory.sizes == alone.sizes
        first, second = (
            greedy(model, each, sos=SOS, eos=EOS, max_length=24) for each in (memory, alone)
        )
        assert first.tokens == second.tokens


def test_caches_have_one_buffer_and_keep_their_rows(
    bundle: Bundle, images: NDArray[np.float32]
) -> None:
    """Beams that change places copy nothing; one that follows on another's row copies that row."""
    layered = OnnxRuntimeModel(bundle, bundle.variant("onnxruntime"), threads=1)
    [memory, *_] = layered.encode(images)
    state = layered.reorder(layered.start(memory, 1), np.array([0, 0, 0]))
    _, state = layered.step(np.array([3, 4, 5]), memory, state)
    one, other = state.buffers.views(3).arrays
    places = [each.in_place for each in layered.interface.state]
    assert [a is b or np.shares_memory(a, b) for a, b in zip(one, other, strict=True)] == places
    before = [array.copy() for array in one[:4]]
    turned = layered.reorder(state, np.array([2, 0, 1]))
    assert turned.slot == state.slot
    for array, kept in zip(one[:4], before, strict=True):
        np.testing.assert_array_equal(array, kept)
    with pytest.raises(RuntimeError, match="used up"):
        layered.step(np.array([3, 4, 5]), memory, state)
    doubled = layered.reorder(turned, np.array([1, 1, 2]))  # rows 0, 0 and 1
    for array, kept in zip(one[:4], before, strict=True):
        np.testing.assert_array_equal(array, kept[:, [0, 1, 0]])
    log_probs, _ = layered.step(np.array([6, 6, 6]), memory, doubled)
    np.testing.assert_array_equal(log_probs[0], log_probs[1])
    assert not np.array_equal(log_probs[0], log_probs[2])


def test_cells_without_ink_are_left_out(model: Model, images: NDArray[np.float32]) -> None:
    inked = images.reshape(3, 6, 8, 10, 8).any(axis=(2, 4)).reshape(3, 60).sum(axis=1)
    assert [memory.sizes["cells"] for memory in model.encode(images)] == inked.tolist()
    [blank] = model.encode(np.zeros((1, 1, 32, 32), np.float32))
    assert blank.sizes["cells"] == 16, "an image without any ink keeps its cells"


def test_sizes_of_images_may_change(model: Model, plain: PlainModel) -> None:
    random = np.random.default_rng(9)
    for height, width in ((16, 16), (48, 32), (16, 256), (32, 32)):
        image = random.random((1, 1, height, width), dtype=np.float32)
        [found], [expected] = model.encode(image), plain.encode(image)
        written = greedy(model, found, sos=SOS, eos=EOS, max_length=24)
        assert written.tokens == greedy(plain, expected, sos=SOS, eos=EOS, max_length=24).tokens


def test_returned_log_probabilities_are_kept(model: Model, images: NDArray[np.float32]) -> None:
    [memory, *_] = model.encode(images)
    first, state = model.step(np.array([SOS]), memory, model.start(memory, 1))
    before = first.copy()
    model.step(np.array([5]), memory, state)
    np.testing.assert_array_equal(first, before)


def test_a_full_cache_is_refused(model: Model, images: NDArray[np.float32]) -> None:
    [memory, *_] = model.encode(images)
    state = model.start(memory, 1)
    for _ in range(24):
        _, state = model.step(np.array([3]), memory, state)
    with pytest.raises(InputError, match="at most 24 tokens"):
        model.step(np.array([3]), memory, state)


def test_several_threads_at_once(model: Model, images: NDArray[np.float32]) -> None:
    def read(number: int) -> tuple[int, ...]:
        [memory] = model.encode(images[number % 3 : number % 3 + 1])
        return beam_search(model, memory, beams=3, sos=SOS, eos=EOS, max_length=24)[0].tokens

    expected = [read(number) for number in range(3)] * 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(24))) == expected


def test_threads_must_be_one_or_more(bundle: Bundle) -> None:
    for name in RUNTIMES:
        with pytest.raises(InputError, match="threads: expected 1 or more, found 0"):
            runtimes()[name].load()(bundle, bundle.variant(name), 0)


def test_a_graph_of_another_interface_is_refused(bundle: Bundle) -> None:
    for name in RUNTIMES:
        variant = bundle.variant(name)
        turned = replace(variant, encoder=variant.step, step=variant.encoder)
        with pytest.raises(BundleError, match="manifest says"):
            runtimes()[name].load()(bundle, turned, 1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_variant_is_proved_on_its_own_runtime(bundle: Bundle, name: str) -> None:
    """Random sizes, beams and tokens, within what the variant was made for; then real shapes."""
    formulas = synthetic.expressions(3)
    report = compare_with_torch(bundle, bundle.variant(name), synthetic.checkpoint(), formulas)
    assert report.passed, str(report)
    assert report.agreement.equal == 3


def test_a_variant_of_another_project_cannot_be_proved_here(bundle: Bundle) -> None:
    other = replace(bundle.variant("onnxruntime"), target="npu")
    with pytest.raises(ExportError, match=r"for onnxruntime, .* to prove, found one for npu"):
        compare_with_golden(bundle, other)
