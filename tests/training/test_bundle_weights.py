from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from inktex.core.bundle import Bundle, golden_npz, write_bundle
from inktex.core.errors import BundleError, CheckpointError, ParityError, RuntimeUnavailable
from inktex.core.manifest import Manifest
from inktex.quantization.quantized_bundle import Settings, quantize_bundle
from inktex.training.bundle_weights import bundle_source
from inktex.training.edge import EdgeModel
from inktex.training.graph_weights import GraphWeights
from inktex.training.weight_source import Source

from . import recurrent, synthetic

TRAINING_ONLY = {"symbol_head.weight", "symbol_head.bias"}

SETTINGS = Settings(samples=16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return synthetic.bundle(tmp_path_factory)


@pytest.fixture(scope="module")
def int8(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("int8") / "only"
    return quantize_bundle(bundle, path, synthetic.expressions(20), SETTINGS, keep_fp32=False)


def altered(
    bundle: Bundle,
    path: Path,
    change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    files: Mapping[str, bytes] | None = None,
) -> Bundle:
    return write_bundle(path, change(bundle.manifest), {**bundle.contents(), **(files or {})})


def error(source: Source) -> float:
    """How far the encoder's features are from the original's, relative to their size."""
    original = synthetic.network()
    network = source.checkpoint().trained_network()
    images = torch.zeros(1, 1, 48, 64)
    images[:, :, 8:30, 8:50:3] = 1.0
    with torch.no_grad():
        wanted, found = (each.eval().encode(images) for each in (original, network))
    return max(float((a - b).norm() / a.norm()) for a, b in zip(wanted, found, strict=True))


def test_float32_weights_come_back_as_they_were(bundle: Bundle) -> None:
    source = bundle_source(bundle)
    assert source.folded
    assert source.vocabulary == synthetic.vocabulary()
    assert source.recipe.model == synthetic.recipe().model
    original = synthetic.network().state_dict()
    assert original.keys() - source.tensors.keys() == TRAINING_ONLY
    for name, tensor in source.tensors.items():
        if name.startswith("decoder."):
            torch.testing.assert_close(tensor, original[name])
    assert error(source) < 1e-5


def test_int8_weights_come_back_rounded(int8: Bundle) -> None:
    source = bundle_source(int8)
    original = synthetic.network().state_dict()
    assert original.keys() - source.tensors.keys() == TRAINING_ONLY
    for name, tensor in source.tensors.items():
        if name.startswith("decoder."):
            # half of a 127th of the greatest weight, and a bit
            limit = float(original[name].abs().max()) / 200
            torch.testing.assert_close(tensor, original[name], rtol=0, atol=limit)
    assert 0 < error(source) < 0.1


def test_the_float32_variant_is_preferred(bundle: Bundle, tmp_path: Path) -> None:
    both = quantize_bundle(bundle, tmp_path / "both", synthetic.expressions(20), SETTINGS)
    assert [each.precision for each in both.manifest.variants] == ["int8", "fp32"]
    assert error(bundle_source(both)) < 1e-5


def test_settings_of_another_version_do_no_harm(bundle: Bundle, tmp_path: Path) -> None:
    """Of the recipe only the model's shape is needed, as far as it is known today."""

    def older(manifest: Manifest) -> Manifest:
        told: Any = manifest.provenance["recipe"]
        model = {**told["model"], "from_yesterday": 1}
        del model["dropout"]
        recipe = {"name": "edge", "model": model, "optimisation": {"other": 2}}
        return dataclasses.replace(manifest, provenance={"recipe": recipe})

    source = bundle_source(altered(bundle, tmp_path / "older", older))
    wanted = dataclasses.replace(synthetic.recipe().model, dropout=EdgeModel().dropout)  # type: ignore[type-var]
    assert source.recipe.model == wanted


def without_recipe(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, provenance={})


def for_another_runtime(manifest: Manifest) -> Manifest:
    [variant] = manifest.variants
    return dataclasses.replace(manifest, variants=(dataclasses.replace(variant, target="other"),))


def without_golden(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, golden=None)


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (without_recipe, CheckpointError, "expected the recipe of the weights"),
        (for_another_runtime, BundleError, "float32 or INT8 variant for ONNX Runtime"),
        (without_golden, BundleError, "expected golden inputs and outputs"),
    ],
)
def test_what_is_missing_is_told(
    bundle: Bundle,
    tmp_path: Path,
    change: Callable[[Manifest], Manifest],
    kind: type[Exception],
    told: str,
) -> None:
    with pytest.raises(kind, match=told):
        bundle_source(altered(bundle, tmp_path / "altered", change))


def test_other_architectures_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    def recurrent_one(manifest: Manifest) -> Manifest:
        provenance = {"recipe": recurrent.recipe("coverage").to_dict()}
        return dataclasses.replace(manifest, provenance=provenance)

    with pytest.raises(CheckpointError, match="found one of recipe 'coverage'"):
        bundle_source(altered(bundle, tmp_path / "coverage", recurrent_one))


def test_weights_that_compute_something_else_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    golden = bundle.golden()
    golden["step.1.log_probs"] = golden["step.1.log_probs"][:, ::-1].copy()
    wrong = altered(bundle, tmp_path / "wrong", files={"golden.npz": golden_npz(golden)})
    with pytest.raises(ParityError, match=r"a relative error of .* in log_probs"):
        bundle_source(wrong)
    model = onnx.load_from_string(bundle.read("encoder.fp32.onnx"))
    for tensor in model.graph.initializer:
        if tensor.name.endswith("memory_keys.bias"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ones(32, np.float32), tensor.name))
    data = {"encoder.fp32.onnx": model.SerializeToString()}
    with pytest.raises(ParityError, match="in memory_keys"):
        bundle_source(altered(bundle, tmp_path / "other", files=data))


def test_without_onnx_the_pip_command_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'inktex\[export\]'"):
        GraphWeights(bundle.read("step.fp32.onnx"))
