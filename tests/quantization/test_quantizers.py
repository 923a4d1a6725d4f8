from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from inktex.core.bundle import Bundle, write_bundle
from inktex.core.errors import QuantizationError
from inktex.core.interface import GraphSpec, TensorSpec
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.mil_interpreter import MilProgram
from inktex.export.parity import compare_with_golden
from inktex.export.to_coreml import to_coreml
from inktex.export.to_executorch import to_executorch
from inktex.export.to_ort import to_ort
from inktex.quantization import coreml_weights, executorch_int8
from inktex.quantization.quantizers import FORMS, quantizer
from inktex.quantization.source import QuantizationSource, calibration_images
from inktex.quantization.trials import Trials
from inktex.training.checkpoint import Checkpoint

from ..training import recurrent
from ..training.synthetic import expressions

FEW = expressions(20)


@pytest.fixture(scope="module")
def source(bundle: Bundle) -> QuantizationSource:
    return QuantizationSource(bundle, calibration_images(bundle, FEW, 16, 1))


@pytest.fixture(scope="module")
def trials(bundle: Bundle) -> Trials:
    return Trials(bundle, FEW[:4], 4)


@pytest.mark.parametrize(
    ("target", "precision", "divergence"),
    [
        ("onnx", "int8-arm", 0.01),
        ("onnx", "dynamic8", 0.01),
        ("onnx", "fp16", 1e-5),
        ("ort", "int8", 0.01),
        ("openvino", "int8", 0.01),
        ("openvino", "fp16", 1e-5),
        ("openvino", "int8-nncf", 0.01),
        ("tensorrt", "int8", 0.01),
    ],
)
def test_every_form_thinks_nearly_as_float32_does(
    source: QuantizationSource, trials: Trials, target: str, precision: str, divergence: float
) -> None:
    if target == "openvino":
        pytest.importorskip(target)
    if precision == "int8-nncf":
        pytest.importorskip("nncf")
    made = quantizer(target, precision, source)
    variant, files = made.make(())
    assert variant.precision == precision
    assert all(any(name.startswith(part) for name in files)
               for part in (variant.encoder, variant.step))  # fmt: skip
    found = trials.agreement(variant, files)
    assert 0 < found.divergence < divergence
    assert found.share > 0.7


def test_the_own_format_of_onnx_runtime_holds_the_same_numbers(
    source: QuantizationSource, bundle: Bundle
) -> None:
    [image] = source.images[:1]
    for precision, signed in (("int8", False), ("int8-arm", True)):
        runs = []
        form = quantizer("ort", precision, source)
        assert form.stand_in is not None
        for each in (form.stand_in, form):
            variant, files = each.make(())
            options = onnxruntime.SessionOptions()
            options.add_session_config_entry("session.qdqisint8allowed", str(int(signed)))
            session = onnxruntime.InferenceSession(files[variant.encoder], options)
            runs.append(session.run(None, {bundle.manifest.interface.image: image}))
        for found, expected in zip(*runs, strict=True):
            np.testing.assert_array_equal(found, expected)
    model = quantizer("onnx", "int8-arm", source).make(())[1]["encoder.int8-arm.onnx"]
    graph = onnx.load_from_string(model)
    assert to_ort(graph, signed=True) != to_ort(graph, signed=False)


def test_openvino_stores_8_bits_and_asks_for_no_size_that_is_known(
    source: QuantizationSource,
) -> None:
    pytest.importorskip("openvino")
    variant, files = quantizer("openvino", "int8", source).make(())
    graph = source.encoder.graph
    weights = sum(len(each.raw_data) for each in graph.initializer)
    assert len(files[f"{variant.encoder}/graph.bin"]) < 0.4 * weights
    asked = sum(node.op_type == "Shape" for node in graph.node)
    assert files[f"{variant.encoder}/graph.xml"].count(b'type="ShapeOf"') <= asked


def test_tensorrt_gets_nothing_that_it_rejects(source: QuantizationSource) -> None:
    variant, files = quantizer("tensorrt", "int8", source).make(["encoder.stem.0.0"])
    operators = {
        node.op_type
        for name in (variant.encoder, variant.step)
        for node in onnx.load_from_string(files[name]).graph.node
    }
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert not operators & {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"}


class Small(nn.Module):
    """Two convolutions and a product; the size of what the second gives is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 6, 1)
        self.product = nn.Linear(6, 16)


class SmallGraph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = Small()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.network.second(torch.relu(self.network.first(images)))
        rows = torch.arange(seen.shape[2])[:, None, None] / 10
        return torch.as_tensor(self.network.product(seen.permute(0, 2, 3, 1)) + rows)


def test_a_bundle_of_another_version_is_told_before_its_graphs_are_made(bundle: Bundle) -> None:
    """Its weights are the same, but the state of its step was laid out differently."""
    interface = bundle.manifest.interface
    first, *rest = interface.step.inputs
    turned = TensorSpec(first.name, first.dtype, (*first.shape, 1))
    step = GraphSpec((turned, *rest), interface.step.outputs)
    manifest = replace(bundle.manifest, interface=replace(interface, step=step))
    older = QuantizationSource(Bundle(bundle.path, manifest), [])
    with pytest.raises(QuantizationError, match="export the bundle again from its checkpoint"):
        quantizer("executorch", "int8", older)
    assert QuantizationSource(bundle, []).network.interface().step == interface.step


def test_a_checkpoint_of_other_weights_is_refused(bundle: Bundle, checkpoint: Checkpoint) -> None:
    source = QuantizationSource(bundle, [], checkpoint=checkpoint)
    assert source.network.interface().step == bundle.manifest.interface.step
    average = dict(checkpoint.average)
    weight = "decoder.classifier.weight"
    average[weight] = average[weight].flip(0)
    other = replace(checkpoint, average=average)
    with pytest.raises(QuantizationError, match="--checkpoint: expected the one that"):
        QuantizationSource(bundle, [], checkpoint=other).network  # noqa: B018


def test_executorch_runs_eight_bits() -> None:
    pytest.importorskip("executorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the bindings
        from executorch.runtime import Runtime

    torch.manual_seed(0)
    module = SmallGraph().eval()
    axes = (1, 1, "height", "width")
    spec = GraphSpec(
        (TensorSpec("images", "float32", axes),),
        (TensorSpec("rows", "float32", (1, "height", "width", 16)),),
    )
    image = torch.rand(1, 1, 32, 48)
    data = to_executorch(
        module,
        {"images": image},
        spec,
        {"height": 64, "width": 64},
        executorch_int8.int8([{"images": image}], ()),
    )
    other = torch.rand(1, 1, 48, 16)
    method = Runtime.get().load_program(data).load_method("forward")
    found, exact = method.execute([other])[0].numpy(), module(other).detach().numpy()
    assert found.shape == exact.shape
    assert 1e-4 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.03


def test_what_follows_a_coverage_stays_in_float32_on_executorch(tmp_path: Path) -> None:
    """In eight bits it had the range of a coverage before the first step: zero."""
    pytest.importorskip("executorch")
    checkpoint = recurrent.checkpoint("coverage")
    bundle = export_bundle(checkpoint, tmp_path / "bundle")
    images = calibration_images(bundle, FEW, 16, 1)
    source = QuantizationSource(bundle, images, checkpoint=checkpoint)
    found = Trials(bundle, FEW[:4], 4).agreement(*quantizer("executorch", "int8", source).make(()))
    assert 0 < found.divergence < 1e-3  # 0.12 with that range


@pytest.mark.parametrize(
    ("compress", "error"),
    [
        (coreml_weights.weights8, 0.01),
        (coreml_weights.palette(6), 0.05),
        (coreml_weights.palette(4), 0.2),
    ],
    ids=["weights8", "palette6", "palette4"],
)
def test_coreml_gets_small_weights(
    compress: object, error: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("coremltools")
    pytest.importorskip("sklearn")
    assert callable(compress)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 64, 3, padding=1)).eval()
    spec = GraphSpec(
        (TensorSpec("images", "float32", (1, 1, 32, 48)),),
        (TensorSpec("features", "float32", (1, 64, 32, 48)),),
    )
    image = torch.rand(1, 1, 32, 48)
    files = to_coreml(module, {"images": image}, spec, {}, compress=compress)
    package = tmp_path_factory.mktemp("coreml") / "graph.mlpackage"
    for name, data in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(data)
    exact = module(image).detach().numpy()
    found = MilProgram(package)({"images": image.numpy()})["features"]
    assert 1e-4 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < error


def test_caches_stay_inside_coreml_beside_small_weights(
    source: QuantizationSource, bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("coremltools")
    variant, files = quantizer("coreml18", "weights8", source).make(())
    assert (variant.target, variant.precision) == ("coreml18", "weights8")
    assert variant.limits["beams"] == 1
    golden = {"golden.npz": bundle.read("golden.npz")}
    manifest = replace(bundle.manifest, variants=(variant,))
    made = write_bundle(tmp_path / "bundle", manifest, {**files, **golden})
    report = compare_with_golden(made, variant)
    assert report.passed, str(report)


def test_every_target_of_the_list_is_known() -> None:
    assert set(FORMS) == {"onnx", "ort", "openvino", "tensorrt", "executorch", "coreml", "coreml18"}
