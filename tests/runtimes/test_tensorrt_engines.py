from __future__ import annotations

import importlib.util
import multiprocessing
import time
import warnings
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.parser
import pytest

from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError, ExportError
from inktex.core.interface import GraphSpec, TensorSpec
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.parity import compare_with_golden
from inktex.export.plain_graphs import told
from inktex.runtimes.tensorrt_engines import EngineCache, EngineKey, build, parsed, profiles

from ..training import synthetic
from .fake_tensorrt import HEAD, HostDevice, fake_tensorrt

LIMITS = {"batch": 1, "height": 1024, "width": 2048, "cells": 4096, "beams": 16, "length": 160}
ENCODER = GraphSpec((TensorSpec("images", "float32", ("batch", 1, "height", "width")),), ())
STEP = GraphSpec(
    (
        TensorSpec("tokens", "int64", ("beams",)),
        TensorSpec("memory", "float32", (1, "cells", 8)),
        TensorSpec("cache", "float32", ("beams", "length", 8)),
    ),
    (),
)
KEY = EngineKey("0" * 64, "tensorrt 10.3.0", {"capability": "8.7"}, profiles(STEP, LIMITS))


def test_profiles_go_from_small_images_to_the_limits() -> None:
    found = profiles(ENCODER, LIMITS)
    assert [each["images"][2] for each in found] == [
        (1, 1, 96, 320),
        (1, 1, 192, 768),
        (1, 1, 1024, 2048),
    ]
    for least, typical, most in (each["images"] for each in found):
        assert least == (1, 1, 16, 16)
        assert all(a <= b <= c for a, b, c in zip(least, typical, most, strict=True))


def test_a_bucket_beyond_the_limits_is_left_out() -> None:
    found = profiles(ENCODER, {**LIMITS, "height": 128, "width": 512})
    assert [each["images"][2] for each in found] == [(1, 1, 96, 320), (1, 1, 128, 512)]


def test_a_step_has_one_profile() -> None:
    [found] = profiles(STEP, LIMITS)
    assert found["tokens"] == ((1,), (1,), (16,))
    assert found["memory"] == ((1, 1, 8), (1, 64, 8), (1, 4096, 8))
    assert found["cache"] == ((1, 1, 8), (1, 32, 8), (16, 160, 8))


def test_engines_are_made_once(own_cache: Path) -> None:
    cache, made = EngineCache(), []

    def make() -> bytes:
        made.append(1)
        return b"engine"

    assert cache.folder == own_cache / "engines"
    assert [cache.get(KEY, make) for _ in range(3)] == [b"engine"] * 3
    assert len(made) == 1
    assert EngineCache().get(KEY, make, anew=True) == b"engine"
    assert len(made) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"graph": "1" * 64},
        {"library": "tensorrt 11.0.0"},
        {"library": "tensorrt_rtx 10.3.0"},
        {"gpu": {"capability": "8.9"}},
        {"gpu": {"capability": "8.7", "driver": 12060}},
        {"ranges": profiles(ENCODER, LIMITS)},
    ],
)
def test_whatever_an_engine_depends_on_is_in_its_name(change: dict[str, object]) -> None:
    assert replace(KEY, **change).name != KEY.name  # type: ignore[arg-type]
    assert replace(KEY).name == KEY.name


def test_an_empty_file_is_no_engine(own_cache: Path) -> None:
    cache = EngineCache()
    cache.get(KEY, lambda: b"engine")
    (cache.folder / KEY.name).write_bytes(b"")
    assert cache.get(KEY, lambda: b"again") == b"again"


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = EngineCache(tmp_path / "file" / "engines")
    for content in (b"engine", b"made again"):
        with pytest.warns(RuntimeWarning, match="engines cannot be kept in .*INKTEX_CACHE"):
            assert cache.get(KEY, content.strip) == content


def test_no_space_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache = EngineCache(tmp_path)
    with pytest.warns(RuntimeWarning, match="No space left"):
        assert cache.get(KEY, lambda: b"engine") == b"engine"
    assert [each.suffix for each in tmp_path.iterdir()] == [".lock"]


def test_a_damaged_graph_is_no_matter_of_room(tmp_path: Path) -> None:
    made = []

    def make() -> bytes:
        made.append(1)
        raise BundleError("damaged")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BundleError, match="damaged"):
            EngineCache(tmp_path).get(KEY, make)
    assert len(made) == 1


def test_what_tensorrt_cannot_make_is_an_error(tmp_path: Path) -> None:
    def make() -> bytes:
        raise ExportError("cannot")

    with pytest.raises(ExportError, match="cannot"):
        EngineCache(tmp_path).get(KEY, make)
    assert EngineCache(tmp_path).get(KEY, lambda: b"now") == b"now"


def _slow(folder: Path, log: Path) -> None:
    def make() -> bytes:
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return b"engine"

    assert EngineCache(folder).get(KEY, make) == b"engine"


def test_of_two_processes_one_makes_it(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this process has threads
        both = [spawn.Process(target=_slow, args=(tmp_path, tmp_path / "log")) for _ in range(2)]
        for each in both:
            each.start()
    for each in both:
        each.join()
        assert each.exitcode == 0
    assert (tmp_path / "log").read_text() == "made\n"


def graph(operator: str) -> bytes:
    text = f"""
    <ir_version: 8, opset_import: ["" : 18]>
    made (float[n] images) => (float[n] out) {{ {operator} }}
    """
    model: bytes = onnx.parser.parse_model(text).SerializeToString()
    return model


def test_a_graph_that_cannot_be_read_is_told() -> None:
    library = fake_tensorrt(HostDevice())
    _, network = parsed(library, graph("out = Relu(images)"), "step")
    assert network.flags == 2  # strongly typed
    dynamic = graph(
        "q, scale, zero = DynamicQuantizeLinear(images) out = DequantizeLinear(q, scale, zero)"
    )
    with pytest.raises(ExportError, match=r"10\.3\.0 cannot take step: no importer for Dynamic"):
        parsed(library, dynamic, "step")


def test_an_engine_is_built_with_its_ranges() -> None:
    library = fake_tensorrt(HostDevice())
    seen: list[object] = []
    ranges = [{"images": ((1,), (2,), (3,))}]
    made = build(library, graph("out = Relu(images)"), "step", ranges, seen.append)
    assert made.startswith(HEAD + repr(ranges).encode())
    assert len(seen) == 1


@pytest.fixture(scope="module", params=["edge", "coverage"])
def half(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny recognizer, not trained, for TensorRT."""
    from ..training import recurrent

    made = synthetic.checkpoint() if request.param == "edge" else recurrent.checkpoint("coverage")
    path = tmp_path_factory.mktemp("half") / "bundle"
    return export_bundle(made, path, targets=["tensorrt"])


def test_the_graphs_compute_in_half_precision_what_torch_computed(half: Bundle) -> None:
    """Run by ONNX Runtime, as the report says."""
    [variant] = half.manifest.variants
    assert (variant.target, variant.precision) == ("tensorrt", "fp16")
    model = onnx.load_from_string(half.read(variant.step))
    types = {each.data_type for each in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    ends = [*model.graph.input, *model.graph.output]
    assert {each.type.tensor_type.elem_type for each in ends} <= {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
    }
    report = compare_with_golden(half, variant)
    assert report.passed, str(report)
    assert any(each.max_abs > 1e-6 for each in report.tensors)  # half precision, not single
    assert "its ONNX graphs run by ONNX Runtime" in told(half, variant)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs `pip install tensorrt-rtx`"
)
def test_tensorrt_for_rtx_takes_every_node_and_builds_engines_without_a_gpu(half: Bundle) -> None:
    import tensorrt_rtx as library

    def ahead_of_time(config: object) -> None:
        config.num_compute_capabilities = 2  # type: ignore[attr-defined]
        for number, name in enumerate(("SM86", "SM89")):
            capability = getattr(library.ComputeCapability, name)
            config.set_compute_capability(capability, number)  # type: ignore[attr-defined]

    [variant] = half.manifest.variants
    interface = half.manifest.interface
    for name, spec in ((variant.encoder, interface.encoder), (variant.step, interface.step)):
        engine = build(
            library, half.read(name), name, profiles(spec, variant.limits), ahead_of_time
        )
        assert len(engine) > 10_000
