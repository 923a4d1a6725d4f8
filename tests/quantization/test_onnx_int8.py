from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError, QuantizationError
from inktex.core.preparation import prepare_image
from inktex.export.parity import compare_with_torch
from inktex.export.plain_graphs import graphs_of
from inktex.quantization.onnx_int8 import (
    DYNAMIC_OPERATORS,
    QUANTIZED_OPERATORS,
    SYMMETRIC,
    UNSIGNED,
    UNSIGNED_INPUTS,
    _folder,
    check_operators,
    dynamic_int8,
    layers_of,
    static_int8,
    with_half_tables,
)
from inktex.quantization.quantized_bundle import Settings, quantize_bundle
from inktex.quantization.source import MIN_SAMPLES, QuantizationSource, calibration_images
from inktex.runtimes import load
from inktex.runtimes.graph_memory import compact_memories
from inktex.training.checkpoint import Checkpoint
from inktex.training.inkset import Expression

from ..training.synthetic import expressions

HALF = onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def quantized(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return add_int8(bundle, tmp_path_factory.mktemp("int8") / "both", expressions(20), 16)


def add_int8(
    bundle: Bundle, path: Path, ink: list[Expression], samples: int, keep_fp32: bool = True
) -> Bundle:
    return quantize_bundle(bundle, path, ink, Settings(samples=samples), keep_fp32=keep_fp32)


def nodes(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.fixture(scope="module")
def source(bundle: Bundle) -> QuantizationSource:
    return QuantizationSource(bundle, calibration_images(bundle, expressions(16), 16, 1))


def test_the_int8_variant_comes_first_and_the_rest_stays(bundle: Bundle, quantized: Bundle) -> None:
    manifest = Bundle.open(quantized.path).manifest
    assert [each.precision for each in manifest.variants] == ["int8", "fp32"]
    for name, record in bundle.manifest.files.items():
        assert manifest.files[name] == record
    assert manifest.vocabulary == bundle.manifest.vocabulary
    assert manifest.interface == bundle.manifest.interface
    told: dict[str, Any] = dict(manifest.provenance)
    assert told["quantization"]["samples"] == 16
    assert told["quantization"]["seed"] == 1
    assert {name: told[name] for name in bundle.manifest.provenance} == dict(
        bundle.manifest.provenance
    )
    assert [each.precision for each in Bundle.open(bundle.path).manifest.variants] == ["fp32"]


def weights(bundle: Bundle, name: str) -> dict[int, int]:
    """How many numbers of each type the initialisers of a graph hold."""
    counts: dict[int, int] = {}
    for tensor in onnx.load_from_string(bundle.read(name)).graph.initializer:
        counts[tensor.data_type] = counts.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
    return counts


@pytest.mark.parametrize("part", ["encoder", "step"])
def test_weights_are_of_8_bits(bundle: Bundle, quantized: Bundle, part: str) -> None:
    before = weights(bundle, f"{part}.fp32.onnx")
    after = weights(quantized, f"{part}.int8.onnx")
    quantised = after.get(onnx.TensorProto.INT8, 0)
    assert quantised > 0.6 * before[onnx.TensorProto.FLOAT]
    assert after[onnx.TensorProto.FLOAT] < 0.5 * before[onnx.TensorProto.FLOAT]


def test_wide_graphs_get_smaller() -> None:
    """Where weights are most of the file, as in a real recognizer, it is a fourth."""
    rng = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(rng.normal(size=(256, 256)).astype(np.float32), "w")
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[n, 256] x) => (float[n, 256] y) '
        "{ y = MatMul (x, w) }"
    )
    model.graph.initializer.append(weight)
    assert dynamic_int8(model).ByteSize() < 0.3 * model.ByteSize()


def test_tables_have_16_bits_and_give_the_same_rows_in_32(bundle: Bundle) -> None:
    exact = onnx.load_from_string(bundle.read("step.fp32.onnx"))
    halved = with_half_tables(exact)
    onnx.checker.check_model(halved, full_check=True)
    matrices = {tensor.name for tensor in exact.graph.initializer if len(tensor.dims) == 2}
    read = {node.input[0] for node in exact.graph.node if node.op_type == "Gather"}
    halves = {each.name for each in halved.graph.initializer if each.data_type == HALF}
    assert len(halves) == 2  # of tokens and of positions
    assert halves == matrices & read
    specs = bundle.manifest.interface.step.inputs
    inputs = {
        spec.name: np.zeros(
            [3 if isinstance(size, str) else size for size in spec.shape], spec.dtype
        )
        for spec in specs
    }
    one, other = (
        onnxruntime.InferenceSession(model.SerializeToString()).run(["log_probs"], inputs)[0]
        for model in (exact, halved)
    )
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, atol=5e-3)


def test_8_bits_are_close_to_32(bundle: Bundle, quantized: Bundle) -> None:
    exact, rough = (graphs_of(quantized, each) for each in quantized.manifest.variants[::-1])
    image = prepare_image(
        [stroke.astype(np.float64) for stroke in expressions(21)[20].strokes],
        bundle.manifest.preprocessing,
    )
    one, other = (
        compact_memories(quantized.manifest.interface, graphs.encoder({"images": image}))[0].arrays
        for graphs in (exact, rough)
    )
    np.testing.assert_array_equal(one["memory_bias"], other["memory_bias"])
    for name in ("memory_keys_0", "memory_values_1"):
        reference, found = one[name], other[name]
        assert not np.array_equal(reference, found)
        assert np.abs(found - reference).mean() < 0.15 * np.abs(reference).mean()
    inputs = {
        "tokens": np.array([1]),
        "position": np.array([0]),
        **one,
        **{
            f"cache_{name}_{layer}": np.zeros((24, 1, 2, 8), np.float32)
            for name in ("keys", "values")
            for layer in (0, 1)
        },
        **{
            f"coverage_{layer}": np.zeros((1, 2, 1, one["memory_bias"].size), np.float32)
            for layer in (0, 1)
        },
    }
    log_probs, rough_log_probs = (g.step(inputs)["log_probs"] for g in (exact, rough))
    likely = log_probs > -10  # <pad> and <sos> are far below
    assert 0 < np.abs(log_probs - rough_log_probs)[likely].max() < 0.5


def test_the_int8_variant_is_preferred_and_reads(quantized: Bundle) -> None:
    strokes = [stroke.astype(np.float64) for stroke in expressions(1)[0].strokes]
    assert quantized.variant("onnxruntime").precision == "int8"
    named = load(quantized, precision="int8")(strokes, beam=2)
    assert named.tokens
    exact = load(quantized, precision="fp32")(strokes, beam=2)
    assert exact.confidence != named.confidence
    chosen = load(quantized)  # whichever is faster here, of graphs so small
    assert chosen.running is not None
    same = load(quantized, precision=chosen.running.precision)(strokes, beam=2)
    found = chosen(strokes, beam=2)
    assert (found.tokens, found.confidence) == (same.tokens, same.confidence)


def test_parity_of_int8_is_judged_by_sequences(quantized: Bundle, checkpoint: Checkpoint) -> None:
    report = compare_with_torch(
        quantized, quantized.manifest.variants[0], checkpoint, expressions(2), shapes=2
    )
    assert report.variant == "onnxruntime int8"
    assert report.tolerance.max_abs is None
    assert report.agreement.sequences == 2
    assert all(np.isfinite(each.max_abs) for each in report.tensors)


def test_without_float32_only_what_is_needed_is_left(bundle: Bundle, tmp_path: Path) -> None:
    small = add_int8(bundle, tmp_path / "small", expressions(16), 16, keep_fp32=False)
    assert [each.precision for each in small.manifest.variants] == ["int8"]
    assert set(small.manifest.files) == {"encoder.int8.onnx", "step.int8.onnx", "golden.npz"}
    assert load(small)([np.array([[0.0, 0.0], [5.0, 9.0]])]).confidence >= 0
    with pytest.raises(QuantizationError, match="found one that has it"):
        add_int8(small, tmp_path / "twice", expressions(16), 16)


def test_the_same_seed_gives_the_same_graphs(
    bundle: Bundle, quantized: Bundle, tmp_path: Path
) -> None:
    again = add_int8(bundle, tmp_path / "again", expressions(20), 16)
    assert again.manifest.files == quantized.manifest.files


def test_what_cannot_be_quantised_says_why(
    bundle: Bundle, quantized: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(QuantizationError, match="without INT8"):
        add_int8(quantized, tmp_path / "twice", expressions(20), 16)
    few = expressions(MIN_SAMPLES - 1)
    with pytest.raises(QuantizationError, match=r"at least 16 formulas .*found 15"):
        add_int8(bundle, tmp_path / "few", few, 100)
    with pytest.raises(QuantizationError, match=r"at least 16 formulas .*found 3"):
        add_int8(bundle, tmp_path / "few", expressions(20), 3)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    with pytest.raises(BundleError, match="something else"):
        add_int8(bundle, tmp_path / "taken", expressions(16), 16)
    assert {each.name for each in tmp_path.iterdir()} == {"taken"}


def test_the_tools_leave_logging_as_it_was(bundle: Bundle) -> None:
    before = logging.root.level, logging.root.manager.disable
    dynamic_int8(onnx.load_from_string(bundle.read("step.fp32.onnx")))
    assert (logging.root.level, logging.root.manager.disable) == before
    with pytest.raises(RuntimeError), _folder(b""):
        raise RuntimeError
    assert (logging.root.level, logging.root.manager.disable) == before


def test_layers_have_the_names_of_the_network(
    source: QuantizationSource, checkpoint: Checkpoint
) -> None:
    modules = dict(checkpoint.trained_network().named_modules())
    encoder = layers_of(source.encoder, ("Conv", "MatMul"))
    step = layers_of(source.step, DYNAMIC_OPERATORS)
    named = [each for each in (*encoder, *step) if "." in each]
    assert len(named) >= len(encoder) + len(step) - 1  # one product has lost its name
    assert {"encoder.stem.0.0", "decoder.layers.0.feed_in", "decoder.classifier"} <= set(named)
    assert set(named) <= set(modules)


def test_layers_that_are_kept_stay_in_float32(source: QuantizationSource) -> None:
    ranges = source.ranges(symmetric=True)
    names = list(layers_of(source.encoder, ("Conv", "MatMul")))
    every, some = (static_int8(source.encoder, ranges, SYMMETRIC, kept) for kept in ([], names[:2]))
    weights = [
        sum(each.data_type == onnx.TensorProto.INT8 and len(each.dims) > 1
            for each in model.graph.initializer)
        for model in (every, some)
    ]  # fmt: skip
    assert weights == [len(names), len(names) - 2]
    assert not QUANTIZED_OPERATORS & set(
        nodes(static_int8(source.encoder, ranges, SYMMETRIC, names))
    )
    kept = dynamic_int8(source.step, ["decoder.classifier"])
    assert nodes(dynamic_int8(source.step))["MatMulInteger"] == nodes(kept)["MatMulInteger"] + 1
    with pytest.raises(QuantizationError, match="found nothing_such"):
        dynamic_int8(source.step, ["nothing_such"])


def test_symmetric_graphs_have_no_zero_points_and_no_quantised_bias(
    source: QuantizationSource,
) -> None:
    model = static_int8(source.encoder, source.ranges(symmetric=True), SYMMETRIC)
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    assert not any(array.dtype == np.int32 for array in arrays.values())
    quantizers = [each for each in model.graph.node if each.op_type.endswith("quantizeLinear")]
    assert quantizers
    assert not any(arrays[each.input[2]].any() for each in quantizers)


def test_what_is_rectified_is_rounded_once(source: QuantizationSource) -> None:
    """Each tensor of the encoder has one pair of quantisers, also where two products look at it;
    the ReLU behind a product is its range."""
    model = static_int8(source.encoder, source.ranges(), UNSIGNED)
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    rounded = {each.input[0] for each in model.graph.node if each.op_type == "QuantizeLinear"}
    left = [each for each in model.graph.node if each.op_type == "Relu"]
    before = [each for each in source.encoder.graph.node if each.op_type == "Relu"]
    assert len(left) < len(before)
    assert all(made[each.input[0]] == "Add" for each in left)
    assert not any(each.input[0] in rounded for each in left)


def test_unsigned_inputs_use_every_level_for_what_is_never_negative(
    source: QuantizationSource,
) -> None:
    model = static_int8(source.encoder, source.ranges(), UNSIGNED_INPUTS)
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    quantizers = [each for each in model.graph.node if each.op_type == "QuantizeLinear"]
    points = {each.input[0]: arrays[each.input[2]] for each in quantizers}
    assert all(point.dtype == np.uint8 for point in points.values())
    rectified = {each.output[0] for each in model.graph.node if each.op_type == "Relu"}
    assert rectified & set(points)
    assert not any(points[name] for name in rectified & set(points))
    products = {each.output[0] for each in model.graph.node if each.op_type in ("Conv", "MatMul")}
    assert not products & set(points), "what comes out of a product stays as it is"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("y = QuantizeLinear (x, s)", "QuantizeLinear .*quantised already"),
        ("y = com.acme.Twirl (x)", "Twirl .*domain 'com.acme'"),
    ],
)
def test_an_operator_that_cannot_be_quantised_is_named(text: str, match: str) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18, "com.acme": 1]> '
        f"g (float[n] x, float s) => (uint8[n] y) {{ {text} }}"
    )
    with pytest.raises(QuantizationError, match=match):
        check_operators(model.SerializeToString(), "step.onnx")


def test_blank_paper_is_no_calibration(bundle: Bundle) -> None:
    blank = [Expression(f"b{n}", "", (), (), (), np.zeros((40, 40), np.uint8)) for n in range(20)]
    with pytest.raises(QuantizationError, match="expected handwriting"):
        calibration_images(bundle, blank, 20, 1)
