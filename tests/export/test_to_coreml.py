"""CoreML packages, read back and run operation by operation: no Mac is needed or used."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError, ExportError, InputError, RuntimeUnavailable
from inktex.core.search import beam_search, greedy
from inktex.export import to_coreml
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.graphs import EncoderGraph
from inktex.export.mil_interpreter import OPERATIONS, MilProgram
from inktex.export.parity import compare_with_golden, compare_with_torch
from inktex.export.targets import coreml_variant
from inktex.runtimes import choose
from inktex.runtimes.coreml_runtime import coreml_model, keeping_coreml_model
from inktex.training.checkpoint import Checkpoint

from ..training import recurrent, synthetic, tiny_pretraining

pytest.importorskip("coremltools")

RECIPES: dict[str, Callable[[], Checkpoint]] = {
    "edge": synthetic.checkpoint,
    "coverage": lambda: recurrent.checkpoint("coverage"),
}


@pytest.fixture(scope="module", params=RECIPES)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkpoint, Bundle]:
    checkpoint = RECIPES[request.param]()
    path = tmp_path_factory.mktemp("coreml") / "bundle"
    return checkpoint, export_bundle(checkpoint, path, targets=["onnx", "coreml", "coreml18"])


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As on a Mac: coremltools' model runs its package, here by the interpreter. What it was told
    to run on is in the list."""
    import coremltools

    units: list[Any] = []
    read_only = coremltools.models.MLModel

    class Model:
        def __init__(self, path: str) -> None:
            self.program = MilProgram(Path(path))
            self.spec = read_only(path, skip_model_load=True).get_spec()

        def get_spec(self) -> Any:
            return self.spec

        def make_state(self) -> dict[str, NDArray[Any]]:
            return self.program.make_state()

        def predict(
            self, inputs: dict[str, NDArray[Any]], state: dict[str, NDArray[Any]] | None = None
        ) -> dict[str, NDArray[Any]]:
            assert {each.dtype.name for each in inputs.values()} <= {"float32", "int32"}
            return self.program(inputs, state)

    def load(path: str, compute_units: Any = None, skip_model_load: bool = False) -> Any:
        if skip_model_load:
            return read_only(path, skip_model_load=True)
        units.append(compute_units.name)
        return Model(path)

    monkeypatch.setattr(coremltools.models, "MLModel", load)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    return units


@pytest.mark.parametrize("target", ["coreml", "coreml18"])
def test_the_programs_compute_what_torch_computed(
    made: tuple[Checkpoint, Bundle], target: str
) -> None:
    checkpoint, bundle = made
    variant = bundle.variant(target)
    assert variant.precision == "fp16"
    formulas = synthetic.expressions(3)
    for report in (
        compare_with_golden(bundle, variant),
        compare_with_torch(bundle, variant, checkpoint, formulas, shapes=3),
    ):
        assert report.passed, str(report)
        assert "its programs run operation by operation" in report.variant
        assert any(each.max_abs > 1e-6 for each in report.tensors)  # half precision, not single
    assert report.agreement.sequences == 3


def test_an_encoder_with_an_attention_network_is_written(tmp_path: Path) -> None:
    network = tiny_pretraining.network()
    variant, files = coreml_variant(network, network.interface(), 24)
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    image = np.zeros((1, 1, 64, 128), np.float32)
    image[0, 0, 20:24, 10:90] = 1
    found = MilProgram(tmp_path / variant.encoder)({"images": image})
    with torch.inference_mode():
        wanted = EncoderGraph(network)(torch.from_numpy(image))
    for spec, tensor in zip(network.interface().encoder.outputs, wanted, strict=True):
        np.testing.assert_allclose(found[spec.name], tensor.numpy(), atol=0.02)


def test_images_come_in_sizes_that_the_neural_engine_knows_before(
    made: tuple[Checkpoint, Bundle],
) -> None:
    import coremltools

    _, bundle = made
    variant = bundle.variant("coreml")
    path = bundle.path / variant.encoder
    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    [image] = spec.description.input
    shapes = image.type.multiArrayType.enumeratedShapes.shapes
    found = {tuple(each.shape) for each in shapes}
    assert found == {(1, 1, *size) for size in variant.image_sizes}
    assert len(found) <= 128
    assert spec.specificationVersion <= 7  # iOS 16
    assert Bundle.open(bundle.path).variant("coreml") == variant


def test_a_mac_reads_what_onnx_runtime_reads(
    made: tuple[Checkpoint, Bundle], mac: list[Any], images: NDArray[np.float32]
) -> None:
    _, bundle = made
    model = coreml_model(bundle, bundle.variant("coreml"))
    other: Any = choose(bundle, "onnxruntime")[1]
    assert mac == ["ALL", "CPU_ONLY"]
    vocabulary = bundle.manifest.vocabulary
    settings: dict[str, Any] = {"sos": vocabulary.sos, "eos": vocabulary.eos, "max_length": 12}
    for memory, expected in zip(model.encode(images), other.encode(images), strict=True):
        assert memory.padded == (48, 96)
        state, expected_state = model.start(memory, 1), other.start(expected, 1)
        log_probs, state = model.step(np.array([1]), memory, state)
        wanted, expected_state = other.step(np.array([1]), expected, expected_state)
        # paper was added to the right, which the cells at the border see
        np.testing.assert_allclose(log_probs, wanted, atol=0.3)
        coverage, wanted = model.coverage(state), other.coverage(expected_state)
        assert coverage.shape == wanted.shape
        written = greedy(model, memory, **settings)
        best = beam_search(model, memory, beams=3, **settings)[0]
        assert len(written.token_log_probs) <= 12
        assert best.score >= written.score - 1e-3


@pytest.fixture
def images() -> NDArray[np.float32]:
    random = np.random.default_rng(5)
    images = (random.random((2, 1, 48, 80)) < 0.2).astype(np.float32)
    images[:, :, :, 60:] = 0
    return images


def test_caches_that_stay_inside_read_the_same(
    made: tuple[Checkpoint, Bundle], mac: list[Any], images: NDArray[np.float32]
) -> None:
    """Two formulas by turns: each has caches of its own."""
    _, bundle = made
    outside = coreml_model(bundle, bundle.variant("coreml"))
    inside = keeping_coreml_model(bundle, bundle.variant("coreml18"))
    variant = bundle.variant("coreml18")
    assert variant.encoder == bundle.variant("coreml").encoder
    assert variant.limits["beams"] == 1
    memories = [(outside.encode(images)[n], inside.encode(images)[n]) for n in (0, 1)]
    states = [(outside.start(one, 1), inside.start(other, 1)) for one, other in memories]
    for tokens in ([1, 1], [4, 6], [5, 3], [3, 4]):
        for number, token in enumerate(tokens):
            (one, other), (state, kept) = memories[number], states[number]
            wanted, state = outside.step(np.array([token]), one, state)
            found, kept = inside.step(np.array([token]), other, inside.reorder(kept, np.array([0])))
            np.testing.assert_allclose(found, wanted, atol=1e-2)
            states[number] = (state, kept)
    with pytest.raises(InputError, match="beams: expected at most 1"):
        inside.start(memories[0][1], 2)


def test_an_image_beyond_all_sizes_is_refused(
    made: tuple[Checkpoint, Bundle], mac: list[Any]
) -> None:
    _, bundle = made
    model = coreml_model(bundle, bundle.variant("coreml"))
    with pytest.raises(InputError, match=r"at most 1280 x 224 pixels .* found 64 x 240"):
        model.encode(np.zeros((1, 1, 240, 64), np.float32))


def test_elsewhere_than_on_a_mac_one_error_says_so(made: tuple[Checkpoint, Bundle]) -> None:
    _, bundle = made
    with pytest.raises(
        RuntimeUnavailable, match="macOS, iOS and iPadOS only; here `inktex verify`"
    ):
        coreml_model(bundle, bundle.variant("coreml"))


def test_a_package_that_is_refused_is_named(
    made: tuple[Checkpoint, Bundle], mac: list[Any], tmp_path: Path
) -> None:
    _, bundle = made
    shutil.copytree(bundle.path, tmp_path / "copy")
    changed = Bundle.open(tmp_path / "copy")
    variant = changed.variant("coreml")
    program = changed.path / variant.step / "Data" / "com.apple.CoreML" / "model.mlmodel"
    program.write_bytes(program.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError):
        coreml_model(changed, variant)


def test_a_folder_that_is_no_package_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.mlpackage").mkdir()
    with pytest.raises(ExportError, match="expected an ML package"):
        MilProgram(tmp_path / "x.mlpackage")


def test_a_numpy_thatloaded_coremltools_breaks_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "2.4.1")
    with pytest.raises(RuntimeUnavailable, match=r"needs numpy below 2\.4, found 2\.4\.1"):
        to_coreml.loaded_coremltools()


def test_operations_are_those_of_the_documentation() -> None:
    """Cases that the recognizers' own programs need not have."""
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    run = OPERATIONS
    np.testing.assert_array_equal(
        run["slice_by_index"](
            x,
            np.array([0, 1, 0]),
            np.array([0, 0, 4]),
            stride=np.array([1, 1, 2]),
            end_mask=np.array([False, True, False]),
            squeeze_mask=np.array([True, False, False]),
        ),
        x[0, 1:, 0:4:2],
    )
    np.testing.assert_array_equal(run["reshape"](x, np.array([0, -1])), x.reshape(2, 12))
    np.testing.assert_array_equal(run["concat"]([np.int32(1), np.array([2, 3])], 0), [1, 2, 3])
    first, second = run["split"](x, axis=-1, split_sizes=np.array([1, 3]))
    assert (first.shape, second.shape) == ((2, 3, 1), (2, 3, 3))
    assert [each.shape for each in run["split"](x, axis=1, num_splits=3)] == [(2, 1, 4)] * 3
    assert run["real_div"](np.int32(7), np.int32(2)) == 3
    assert run["real_div"](np.float32(7), np.float32(2)) == 3.5
    np.testing.assert_allclose(
        run["matmul"](x, x, transpose_y=True), x @ np.swapaxes(x, -1, -2), rtol=1e-6
    )
    np.testing.assert_array_equal(
        run["reduce_max"](x, np.array([2]), True), x.max(2, keepdims=True)
    )
    np.testing.assert_array_equal(run["gather"](x, np.array([2, 0]), 1), x[:, [2, 0]])
