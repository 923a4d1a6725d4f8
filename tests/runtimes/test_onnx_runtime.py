from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from inktex.core.bundle import Bundle, GraphSpec, Manifest, TensorSpec, Variant, write_bundle
from inktex.core.errors import BundleError, InputError, RuntimeUnavailable
from inktex.runtimes import choose
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel

from .plain_model import SOS


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> OnnxRuntimeModel:
    return OnnxRuntimeModel(tiny_bundle, tiny_bundle.variant("onnxruntime"), threads=1)


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
    with pytest.raises(RuntimeError, match="used up"):
        model.coverage(start)
    with pytest.raises(RuntimeError, match="another memory"):
        model.step(np.array([3]), other, third)


def test_threads_are_set(tiny_bundle: Bundle) -> None:
    variant = tiny_bundle.variant("onnxruntime")
    assert OnnxRuntimeModel(tiny_bundle, variant, threads=3).threads == 3
    assert 1 <= OnnxRuntimeModel(tiny_bundle, variant).threads <= 4
    for wrong, said in (("2", "a whole number, found '2'"), (2.0, "a whole"), (99999, "at most")):
        with pytest.raises(InputError, match=f"threads: expected {said}"):
            OnnxRuntimeModel(tiny_bundle, variant, threads=wrong)  # type: ignore[arg-type]
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
    with pytest.raises(BundleError, match=r"log_probs: expected the axes beams and 13"):
        replace(tiny_manifest, vocabulary=vocabulary)
    narrower = tuple(
        replace(spec, shape=("beams", 13)) if spec.name == "log_probs" else spec
        for spec in interface.step.outputs
    )
    step = replace(interface.step, outputs=narrower)
    manifest = replace(
        tiny_manifest, vocabulary=vocabulary, interface=replace(interface, step=step)
    )
    with pytest.raises(BundleError, match=r"the outputs of 'step\.onnx'.*\['log_probs'\]"):
        rebuilt(manifest)
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


def test_a_provider_that_this_build_has_not_is_told(tiny_bundle: Bundle) -> None:
    [variant] = tiny_bundle.manifest.variants
    for name in ("cuda", "abacus"):
        with pytest.raises(RuntimeUnavailable, match=rf"\(cpu.*\), found '{name}'"):
            OnnxRuntimeModel(tiny_bundle, variant, provider=name)
    with pytest.raises(RuntimeUnavailable, match=r"no runtime here .* found 'cuda'"):
        choose(tiny_bundle, "onnxruntime:cuda")
    with pytest.raises(RuntimeUnavailable, match="found one of 'openvino': cuda"):
        choose(tiny_bundle, "openvino:cuda")


def test_a_provider_is_named_with_its_runtime(tiny_bundle: Bundle) -> None:
    running, model = choose(tiny_bundle, "onnxruntime:cpu")
    assert running.runtime == "onnxruntime:cpu"
    assert isinstance(model, OnnxRuntimeModel)
    assert model.provider == "cpu"


def test_a_provider_that_is_listed_and_does_not_start_is_never_replaced(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the GPU's build of ONNX Runtime where CUDA's libraries are missing: it lists CUDA,
    and takes the processor."""
    [variant] = tiny_bundle.manifest.variants
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    session, asked = onnxruntime.InferenceSession, list[list[str]]()

    def start(data: bytes, options: object, providers: list[str]) -> object:
        asked.append(providers)
        return session(data, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    with pytest.raises(RuntimeUnavailable, match=r"lists the provider CUDA.* cannot start it here"):
        OnnxRuntimeModel(tiny_bundle, variant, provider="cuda")
    assert asked == [listed]


def test_a_provider_that_starts_and_fails_is_found_at_once(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    [variant] = tiny_bundle.manifest.variants
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    real = onnxruntime.InferenceSession

    class Failing:
        def __init__(self, data: bytes, options: object, providers: list[str]) -> None:
            self.session = real(data, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return listed

        def run_with_iobinding(self, binding: object) -> None:
            raise RuntimeError("CUDA error 700")

        def __getattr__(self, name: str) -> object:
            return getattr(self.session, name)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Failing)
    with pytest.raises(RuntimeUnavailable, match="provider cuda fails on this bundle: CUDA error"):
        OnnxRuntimeModel(tiny_bundle, variant, provider="cuda")
