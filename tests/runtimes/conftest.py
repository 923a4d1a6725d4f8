"""A bundle as the exporter writes it, tiny and untrained: real graphs with seeded weights.

The encoder pools the image by 16 x 16 pixels, one cell each. The step is one decoder layer with a
self-attention cache and attention over the cells that shuns those it has covered.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from inktex.core.bundle import (
    Bundle,
    Decoding,
    GraphSpec,
    Interface,
    Manifest,
    Preprocessing,
    StateSpec,
    TensorSpec,
    Variant,
    write_bundle,
)
from inktex.core.recognizer import read_plainly
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *"+12=^_xy{}", "\\frac"))
HEADS, WIDTH, LENGTH = 2, 4, 24
TOKENS = len(VOCABULARY)

ENCODER = """
<ir_version: 8, opset_import: ["" : 18]>
encoder (float[batch, 1, height, width] images) => (
    float[batch, 1, 2, cells, 4] memory_keys,
    float[batch, 1, 2, cells, 4] memory_values,
    float[batch, cells] memory_bias
) {
    pooled = AveragePool <kernel_shape = [16, 16], strides = [16, 16]> (images)
    column = Constant <value_ints = [0, -1, 1]> ()
    ink = Reshape (pooled, column)
    deep = Mul (ink, slope)
    waves = Sin (deep)
    split = Constant <value_ints = [0, -1, 2, 1, 2, 4]> ()
    parts = Reshape (waves, split)
    both = Transpose <perm = [0, 2, 3, 4, 1, 5]> (parts)
    halves = Constant <value_ints = [1, 1]> ()
    key_part, value_part = Split <axis = 1> (both, halves)
    one = Constant <value_ints = [1]> ()
    memory_keys = Squeeze (key_part, one)
    memory_values = Squeeze (value_part, one)
    last = Constant <value_ints = [2]> ()
    flat = Squeeze (ink, last)
    none = Constant <value_float = 0.0> ()
    masked = Constant <value_float = -10000.0> ()
    blank = Equal (flat, none)
    memory_bias = Where (blank, masked, none)
}
"""

STEP = """
<ir_version: 8, opset_import: ["" : 18]>
step (
    int64[beams] tokens, int64[1] position,
    float[1, 1, 2, cells, 4] memory_keys, float[1, 1, 2, cells, 4] memory_values,
    float[1, cells] memory_bias,
    float[1, beams, 2, 24, 4] cache_keys, float[1, beams, 2, 24, 4] cache_values,
    float[1, beams, 2, cells] coverage
) => (
    float[beams, TOKENS] log_probs,
    float[1, beams, 2, 24, 4] next_cache_keys, float[1, beams, 2, 24, 4] next_cache_values,
    float[1, beams, 2, cells] next_coverage
) {
    embedded = Gather (embedding, tokens)
    project = MatMul (embedded, projection)
    query_flat, key_flat, value_flat = Split <axis = 1, num_outputs = 3> (project)
    heads = Constant <value_ints = [1, -1, 2, 1, 4]> ()
    query = Reshape (query_flat, heads)
    key = Reshape (key_flat, heads)
    value = Reshape (value_flat, heads)
    now = Equal (places, position)
    later = Greater (places, position)
    deep = Constant <value_ints = [1]> ()
    now_deep = Unsqueeze (now, deep)
    next_cache_keys = Where (now_deep, key, cache_keys)
    next_cache_values = Where (now_deep, value, cache_values)
    keys_turned = Transpose <perm = [0, 1, 2, 4, 3]> (next_cache_keys)
    past = MatMul (query, keys_turned)
    never = Constant <value_float = -1000000000.0> ()
    past_seen = Where (later, never, past)
    past_weights = Softmax <axis = -1> (past_seen)
    past_read = MatMul (past_weights, next_cache_values)
    memory_turned = Transpose <perm = [0, 1, 2, 4, 3]> (memory_keys)
    match = MatMul (query, memory_turned)
    row = Constant <value_ints = [3]> ()
    covered = Unsqueeze (coverage, row)
    fresh = Sub (match, covered)
    cells_seen = Add (fresh, memory_bias)
    weights = Softmax <axis = -1> (cells_seen)
    weights_flat = Squeeze (weights, row)
    next_coverage = Add (coverage, weights_flat)
    read = MatMul (weights, memory_values)
    context = Add (read, past_read)
    flat = Constant <value_ints = [-1, 8]> ()
    context_flat = Reshape (context, flat)
    hidden = Add (context_flat, embedded)
    logits = MatMul (hidden, output)
    log_probs = LogSoftmax <axis = -1> (logits)
}
"""


def tensor(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


INTERFACE = Interface(
    encoder=GraphSpec(
        inputs=(tensor("images", "batch", 1, "height", "width"),),
        outputs=(
            tensor("memory_keys", "batch", 1, HEADS, "cells", WIDTH),
            tensor("memory_values", "batch", 1, HEADS, "cells", WIDTH),
            tensor("memory_bias", "batch", "cells"),
        ),
    ),
    step=GraphSpec(
        inputs=(
            tensor("tokens", "beams", dtype="int64"),
            tensor("position", 1, dtype="int64"),
            tensor("memory_keys", 1, 1, HEADS, "cells", WIDTH),
            tensor("memory_values", 1, 1, HEADS, "cells", WIDTH),
            tensor("memory_bias", 1, "cells"),
            tensor("cache_keys", 1, "beams", HEADS, LENGTH, WIDTH),
            tensor("cache_values", 1, "beams", HEADS, LENGTH, WIDTH),
            tensor("coverage", 1, "beams", HEADS, "cells"),
        ),
        outputs=(
            tensor("log_probs", "beams", TOKENS),
            tensor("next_cache_keys", 1, "beams", HEADS, LENGTH, WIDTH),
            tensor("next_cache_values", 1, "beams", HEADS, LENGTH, WIDTH),
            tensor("next_coverage", 1, "beams", HEADS, "cells"),
        ),
    ),
    state=(
        StateSpec("cache_keys", "next_cache_keys", length_axis=3),
        StateSpec("cache_values", "next_cache_values", length_axis=3),
        StateSpec("coverage", "next_coverage"),
    ),
)


def graph(text: str, **weights: np.ndarray) -> bytes:
    model = onnx.parser.parse_model(text.replace("TOKENS", str(TOKENS)))
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


@pytest.fixture(scope="session")
def tiny_graphs() -> dict[str, bytes]:
    """The two graphs, by file name."""
    random = np.random.default_rng(3)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    size = HEADS * WIDTH
    return {
        "encoder.onnx": graph(ENCODER, slope=40 * normal(1, 2 * size)),
        "step.onnx": graph(
            STEP,
            embedding=normal(TOKENS, size),
            projection=normal(size, 3 * size),
            output=normal(size, TOKENS),
            places=np.arange(LENGTH, dtype=np.int64),
        ),
    }


@pytest.fixture(scope="session")
def tiny_manifest() -> Manifest:
    return Manifest(
        vocabulary=VOCABULARY,
        interface=INTERFACE,
        preprocessing=Preprocessing("normalised-ink", {"multiple": 16, "max_pixels": 1 << 20}),
        decoding=Decoding(max_length=LENGTH, beams=2),
        variants=(Variant("onnxruntime", "fp32", "encoder.onnx", "step.onnx"),),
        provenance={"recipe": "untrained, for tests"},
        licence="CC0",
    )


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_manifest: Manifest,
    tiny_graphs: dict[str, bytes],
) -> Bundle:
    """A bundle whose answers make no sense and are always the same."""
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle", tiny_manifest, tiny_graphs)


@pytest.fixture(scope="session")
def two_variants(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_graphs: dict[str, bytes]
) -> Bundle:
    """The same with a golden formula, and the same graphs again as "int8"."""
    manifest = tiny_bundle.manifest
    [fp32] = manifest.variants
    image = np.zeros((1, 1, 32, 64), np.float32)
    image[0, 0, 8:24, 10:50] = 1
    model = OnnxRuntimeModel(tiny_bundle, fp32, threads=1)
    read = read_plainly(model, manifest, image)
    golden = io.BytesIO()
    arrays = {"encoder.images": image, "greedy": np.array(read.tokens)}
    np.savez(golden, allow_pickle=False, **arrays)
    variants = (fp32, replace(fp32, precision="int8"))
    return write_bundle(
        tmp_path_factory.mktemp("two") / "bundle",
        replace(manifest, variants=variants, golden="golden.npz"),
        {**tiny_graphs, "golden.npz": golden.getvalue()},
    )


@pytest.fixture
def images() -> NDArray[np.float32]:
    """Three images with ink in about half of their 16 x 16 cells."""
    random = np.random.default_rng(5)
    images = random.random((3, 1, 48, 80), dtype=np.float32)
    cells = random.random((3, 1, 3, 5)) < 0.5
    images *= cells.repeat(16, axis=2).repeat(16, axis=3)
    return images
