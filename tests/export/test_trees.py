"""The graph that reads trees: the same numbers as steps, and no weight twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inktex.core.bundle import Bundle, write_bundle
from inktex.core.errors import BundleError, InputError, ParityError
from inktex.core.manifest import Variant
from inktex.core.preparation import prepare_image
from inktex.core.recognizer import Recognizer
from inktex.core.rescoring import backward_log_probs
from inktex.core.step_model import StepModel, TreeModel
from inktex.core.token_tree import TokenTree
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.commands import verify
from inktex.export.parity import compare_with_golden, compare_with_torch
from inktex.export.plain_graphs import graphs_of, plain_model
from inktex.export.shared_weights import whole
from inktex.quantization.quantized_bundle import Settings, quantize_bundle
from inktex.runtimes import load
from inktex.training.checkpoint import Checkpoint

from ..training.synthetic import expressions


@pytest.fixture(scope="module")
def rescoring(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("trees") / "bundle"
    return export_bundle(checkpoint, path, beams=3, rescore=True)


def stepped(model: StepModel[Any, Any], memory: Any, tokens: Sequence[int]) -> Any:
    """What a model says after each of some tokens, step by step."""
    state = model.start(memory, 1)
    found = []
    for token in tokens:
        log_probs, state = model.step(np.array([token]), memory, state)
        found.append(log_probs[0])
    return np.stack(found)


def memory_of(model: StepModel[Any, Any], bundle: Bundle) -> Any:
    [memory] = model.encode(prepare_image(expressions(3)[2].source, bundle.manifest.preprocessing))
    return memory


@pytest.mark.parametrize("plain", [False, True])
def test_a_tree_is_read_as_steps_along_its_paths_are(rescoring: Bundle, plain: bool) -> None:
    [variant] = rescoring.manifest.variants
    model: Any = load(rescoring, threads=1).model
    if plain:
        model = plain_model(rescoring, variant, graphs_of(rescoring, variant))
    assert isinstance(model, TreeModel)
    assert model.reads_trees
    memory = memory_of(model, rescoring)
    sequences = [(1, 4, 5, 3), (1, 4, 6), (2, 3, 3, 3, 7), (1,), (2, 3, 4)]
    tree = TokenTree.of(sequences)
    assert len(tree.tokens) < sum(map(len, sequences))
    found, _ = model.read_tree(tree, memory)
    assert found.dtype == np.float32
    for path, sequence in zip(tree.paths, sequences, strict=True):
        np.testing.assert_allclose(found[path], stepped(model, memory, sequence), atol=1e-4)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("count", [1, 3, 23])
def test_steps_go_on_from_a_node(rescoring: Bundle, plain: bool, count: int) -> None:
    [variant] = rescoring.manifest.variants
    model: Any = load(rescoring, threads=1).model
    if plain:
        model = plain_model(rescoring, variant, graphs_of(rescoring, variant))
    memory = memory_of(model, rescoring)
    tokens = [1, *np.random.default_rng(1).integers(3, 8, 22).tolist()][:count]
    tree = TokenTree.of([(1, 5, 5), tokens, (2, 3)])
    _, nodes = model.read_tree(tree, memory)
    state = model.resume(nodes, tree.paths[1], memory)
    expected = model.start(memory, 1)
    for token in tokens:
        _, expected = model.step(np.array([token]), memory, expected)
    np.testing.assert_allclose(model.coverage(state), model.coverage(expected), atol=1e-5)
    if count == 23:  # one more, of the 24 that the decoder counts
        one, _ = model.step(np.array([4]), memory, state)
        other, _ = model.step(np.array([4]), memory, expected)
        np.testing.assert_allclose(one, other, atol=1e-4)
        return
    orders = ([0, 0], [1, 0, 1], [2])
    for order in orders:
        state, expected = (model.reorder(each, np.array(order)) for each in (state, expected))
        following = np.arange(len(order)) + 3
        one, state = model.step(following, memory, state)
        other, expected = model.step(following, memory, expected)
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_reading_with_a_draft_is_the_reading(rescoring: Bundle) -> None:
    recognizer = load(rescoring, threads=1)
    strokes = [stroke.astype(np.float64) for stroke in expressions(5)[4].strokes]
    plain = recognizer(strokes, beam=1)
    for draft in (plain.tokens, plain.tokens[:1], ("x", "unheard-of", "1"), ("}", "x")):
        found = recognizer(strokes, beam=1, draft=draft)
        assert found.tokens == plain.tokens
        assert found.token_log_probs == pytest.approx(plain.token_log_probs, abs=1e-4)
    with pytest.raises(InputError, match="draft: expected a greedy search, found 3 beams"):
        recognizer(strokes, draft=plain.tokens)


def test_the_weights_are_in_the_bundle_once(rescoring: Bundle) -> None:
    [variant] = rescoring.manifest.variants
    tree = onnx.load_from_string(rescoring.read(variant.tree))
    own = [each for each in tree.graph.initializer if not each.external_data]
    assert all(onnx.numpy_helper.to_array(each).nbytes < 256 for each in own)
    assert len(own) < len(tree.graph.initializer)
    assert len(whole_tree(rescoring, variant)) > len(rescoring.read(variant.tree)) + 5_000


def whole_tree(bundle: Bundle, variant: Variant) -> bytes:
    """The graph with all its weights."""
    model = whole(bundle.read(variant.tree), bundle.weights_of(variant.tree))
    data: bytes = model.SerializeToString()
    return data


def test_who_does_not_rescore_needs_no_tree(bundle: Bundle) -> None:
    assert bundle.manifest.interface.tree is None
    assert all(not each.tree for each in bundle.manifest.variants)
    model: Any = load(bundle, threads=1).model
    assert not model.reads_trees
    with pytest.raises(RuntimeError, match="reads_trees"):
        model.read_tree(TokenTree.of([(1,)]), None)


def test_rescoring_reads_a_tree_once(rescoring: Bundle) -> None:
    recognizer = load(rescoring, threads=1)
    trees: list[int] = []

    def count(run: Any) -> Any:
        def counted(binding: Any) -> Any:
            trees.append(1)
            return run(binding)

        return counted

    recognizer.model.watch(lambda run: run, lambda run: run, count)  # type: ignore[attr-defined]
    memory = memory_of(recognizer.model, rescoring)
    vocabulary = rescoring.manifest.vocabulary
    ends = {"sos": vocabulary.sos, "eos": vocabulary.eos}
    formulas = [(4, 5), (4, 6), (5,)]
    found = backward_log_probs(recognizer.model, memory, formulas, **ends)
    assert trees == [1]
    without = replace(
        rescoring.manifest, variants=(replace(rescoring.manifest.variants[0], tree=""),)
    )
    other = Recognizer(load(rescoring, threads=1).model, without)
    other.model._tree = None  # type: ignore[attr-defined]
    memory = memory_of(other.model, rescoring)
    assert found == pytest.approx(
        backward_log_probs(other.model, memory, formulas, **ends), abs=1e-4
    )


def test_both_proofs_look_at_trees(rescoring: Bundle, checkpoint: Checkpoint) -> None:
    [variant] = rescoring.manifest.variants
    for report in (
        compare_with_golden(rescoring, variant),
        compare_with_torch(rescoring, variant, checkpoint, shapes=2),
    ):
        assert report.passed
        assert "log_probs of a tree" in {each.name for each in report.tensors}


def test_a_tree_that_reads_otherwise_fails_the_proof(rescoring: Bundle, tmp_path: Path) -> None:
    [variant] = rescoring.manifest.variants
    tree = onnx.load_from_string(rescoring.read(variant.tree))
    swapped = {"ancestors": "ancestors", "tokens": "positions", "positions": "tokens"}
    for node in tree.graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = swapped.get(name, name)
    files = {**rescoring.contents(), variant.tree: tree.SerializeToString()}
    changed = write_bundle(tmp_path / "changed", rescoring.manifest, files)
    assert not compare_with_golden(changed, variant).passed
    with pytest.raises(ParityError):
        verify.main([str(changed.path)], standalone_mode=False)


def test_a_quantised_bundle_reads_trees_with_the_weights_of_its_step(
    rescoring: Bundle, tmp_path: Path
) -> None:
    forms = tuple(("onnx", each) for each in ("int8", "dynamic8", "weights8", "weights4", "fp16"))
    bundle = quantize_bundle(
        rescoring, tmp_path / "small", expressions(20), Settings(forms, samples=16)
    )
    for variant in bundle.manifest.variants:
        assert variant.tree == f"tree.{variant.precision}.onnx"
        model: Any = load(bundle, precision=variant.precision, threads=1).model
        memory = memory_of(model, bundle)
        tree = TokenTree.of([(1, 4, 5, 3), (1, 4, 6)])
        found, _ = model.read_tree(tree, memory)
        for path, tokens in zip(tree.paths, [(1, 4, 5, 3), (1, 4, 6)], strict=True):
            np.testing.assert_allclose(found[path], stepped(model, memory, tokens), atol=0.1)
        assert bundle.manifest.files[variant.tree].size < len(whole_tree(bundle, variant))


def test_shared_weights_of_another_size_are_refused(rescoring: Bundle, tmp_path: Path) -> None:
    [variant] = rescoring.manifest.variants
    tree = onnx.load_from_string(rescoring.read(variant.tree))
    shared = next(each for each in tree.graph.initializer if each.external_data)
    shared.dims[0] += 1
    files = {**rescoring.contents(), variant.tree: tree.SerializeToString()}
    changed = write_bundle(tmp_path / "changed", rescoring.manifest, files)
    with pytest.raises(BundleError, match=r"tree\.fp32\.onnx.*expected one of the types"):
        load(changed)
