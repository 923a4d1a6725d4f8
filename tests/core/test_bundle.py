from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inktex.core.bundle import (
    FORMAT_VERSION,
    Bundle,
    Decoding,
    GraphSpec,
    Interface,
    Manifest,
    Preprocessing,
    TensorSpec,
    Variant,
    golden_npz,
    write_bundle,
)
from inktex.core.errors import BundleError
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

IMAGES = TensorSpec("images", "float32", ("batch", 1, "height", "width"))
TOKENS = TensorSpec("tokens", "int64", ("beams",))
POSITION = TensorSpec("position", "int64", (1,))
LOG_PROBS = TensorSpec("log_probs", "float32", ("beams", 4))
BIAS = TensorSpec("memory_bias", "float32", ("batch", "cells"))


def graph(scale: float = 1.0) -> bytes:
    """A real ONNX file, of one node and one weight."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [scale])
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    made = helper.make_model(helper.make_graph([node], "g", [value], [result], [weight]))
    data: bytes = made.SerializeToString()
    return data


def with_external_data() -> bytes:
    made = onnx.load_from_string(graph())
    weight = made.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    data: bytes = made.SerializeToString()
    return data


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        vocabulary=Vocabulary((*SPECIAL_TOKENS, "x")),
        interface=Interface(
            encoder=GraphSpec((IMAGES,), (BIAS,)),
            step=GraphSpec((TOKENS, POSITION, BIAS), (LOG_PROBS,)),
            state=(),
        ),
        preprocessing=Preprocessing("normalised-ink", {"multiple": 16, "max_pixels": 4096}),
        decoding=Decoding(max_length=8),
        variants=(Variant("onnxruntime", "fp32", "encoder.onnx", "graphs/step.onnx"),),
        provenance={"recipe": "by hand"},
        licence="CC0",
        golden="golden.npz",
    )


@pytest.fixture
def files() -> dict[str, bytes | Path]:
    return {
        "encoder.onnx": graph(1.0),
        "graphs/step.onnx": graph(2.0),
        "golden.npz": golden_npz({"greedy": np.array([3, 2])}),
    }


@pytest.fixture
def bundle(tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]) -> Bundle:
    return write_bundle(tmp_path / "bundle", manifest, files)


def edit(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest on disk."""
    file = bundle.path / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def replace_file(bundle: Bundle, name: str, data: bytes) -> None:
    """Change a file and the manifest's record of it, as an attacker would."""
    (bundle.path / name).write_bytes(data)
    record = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    edit(bundle, lambda content: content["files"].update({name: record}))


def test_what_was_written_is_what_opens(
    bundle: Bundle, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    opened = Bundle.open(str(bundle.path))
    assert opened.manifest == bundle.manifest
    assert replace(opened.manifest, files={}) == manifest
    assert {name: opened.read(name) for name in opened.manifest.files} == files
    assert opened.golden()["greedy"].tolist() == [3, 2]


def test_a_variant_is_added_by_writing_again(bundle: Bundle) -> None:
    int8 = Variant("onnxruntime", "int8", "encoder.int8.onnx", "graphs/step.onnx")
    manifest = replace(bundle.manifest, variants=(int8, *bundle.manifest.variants))
    files = {**bundle.contents(), "encoder.int8.onnx": graph(3.0)}
    again = write_bundle(bundle.path, manifest, files)
    assert again.variant("onnxruntime") == int8
    assert again.variant("onnxruntime", "fp32").encoder == "encoder.onnx"
    assert again.read("encoder.onnx") == graph(1.0)
    assert os.listdir(bundle.path.parent) == ["bundle"]


def with_tree(
    manifest: Manifest, files: dict[str, bytes | Path], offset: int
) -> tuple[Manifest, dict[str, bytes | Path]]:
    """With a graph for trees, whose weight lies in the file of the step."""
    tree = onnx.load_from_string(with_external_data())
    entries = tree.graph.initializer[0].external_data
    entries[0].value = "step.onnx"
    entries.add(key="offset", value=str(offset))
    entries.add(key="length", value="4")
    memory = manifest.interface.step.inputs[2:]
    spec = GraphSpec(
        (
            TensorSpec("tokens", "int64", ("nodes",)),
            TensorSpec("positions", "int64", ("nodes",)),
            TensorSpec("ancestors", "float32", ("nodes", "nodes")),
            *memory,
        ),
        (TensorSpec("log_probs", "float32", ("nodes", 4)),),
    )
    manifest = replace(
        manifest,
        interface=replace(manifest.interface, tree=spec),
        variants=(replace(manifest.variants[0], tree="graphs/tree.onnx"),),
    )
    return manifest, {**files, "graphs/tree.onnx": tree.SerializeToString()}


def test_the_file_of_a_step_holds_weights_of_a_tree(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    bundle = write_bundle(tmp_path / "bundle", *with_tree(manifest, files, 8))
    assert bundle.weights_of("graphs/tree.onnx") == {"step.onnx": files["graphs/step.onnx"]}
    assert bundle.weights_of("graphs/step.onnx") == {}


def test_a_tree_whose_weights_lie_past_that_file_is_refused(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    step = files["graphs/step.onnx"]
    assert isinstance(step, bytes)
    with pytest.raises(BundleError, match=r"graphs/tree\.onnx: expected a graph in one file"):
        write_bundle(tmp_path / "bundle", *with_tree(manifest, files, len(step) - 3))
    assert not (tmp_path / "bundle").exists()


def test_a_graph_that_is_loaded_by_itself_has_its_weights(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    manifest, files = with_tree(manifest, files, 8)
    [variant] = manifest.variants
    other = replace(variant, precision="int8", encoder=variant.tree, tree="")
    manifest = replace(manifest, variants=(variant, other))
    with pytest.raises(BundleError, match=r"graphs/tree\.onnx: expected a graph in one file"):
        write_bundle(tmp_path / "bundle", manifest, files)


def test_a_tree_that_is_not_there_is_missed(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    manifest, _ = with_tree(manifest, files, 8)
    with pytest.raises(BundleError, match=r"variants\[0\]\.tree names 'graphs/tree\.onnx'"):
        write_bundle(tmp_path / "bundle", manifest, files)


def test_a_variant_that_is_not_there_lists_those_that_are(bundle: Bundle) -> None:
    for target, precision, wanted in (
        ("onnxruntime", "int8", "a variant for the target 'onnxruntime' with precision 'int8'"),
        ("tensorrt", "auto", "a variant for the target 'tensorrt'"),
        ("auto", "int8", "a variant with precision 'int8'"),
    ):
        with pytest.raises(BundleError, match=f"expected {wanted}, found only onnxruntime fp32"):
            bundle.variant(target, precision)


@pytest.mark.parametrize("name", ["encoder.onnx", "graphs/step.onnx", "golden.npz"])
def test_a_changed_byte_is_found(bundle: Bundle, name: str) -> None:
    data = bytearray((bundle.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle.path / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"'{name}' is damaged.*SHA-256"):
        Bundle.open(bundle.path)
    with pytest.raises(BundleError, match="is damaged"):
        bundle.read(name)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0"])
def test_a_changed_size_is_found(bundle: Bundle, change: Callable[[bytes], bytes]) -> None:
    file = bundle.path / "encoder.onnx"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BundleError, match=r"'encoder\.onnx' is damaged"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("size", [10**13, 2**70])
def test_a_size_that_no_file_has_takes_no_memory(bundle: Bundle, size: int) -> None:
    path = bundle.path / "manifest.json"
    content = json.loads(path.read_text())
    name = sorted(content["files"])[0]
    content["files"][name]["size"] = size
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=f"is damaged: expected {size} bytes"):
        Bundle.open(bundle.path)


def test_a_missing_file_is_named(bundle: Bundle) -> None:
    (bundle.path / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"expected the file 'encoder\.onnx', found none"):
        Bundle.open(bundle.path)


def test_a_later_format_version_says_to_upgrade(bundle: Bundle) -> None:
    edit(bundle, lambda content: content.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(BundleError, match="pip install --upgrade inktex"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.onnx", "graphs/../../secret.onnx", "..", "/etc/passwd", "C:/secret.onnx",
        "..\\secret.onnx", "./encoder.onnx", "graphs//step.onnx", "", "manifest.json", "a\0b",
    ],
)  # fmt: skip
def test_a_manifest_that_points_outside_is_refused(bundle: Bundle, name: str) -> None:
    secret = graph(9.0)
    (bundle.path.parent / "secret.onnx").write_bytes(secret)
    record = {"sha256": hashlib.sha256(secret).hexdigest(), "size": len(secret)}

    def point(content: dict[str, Any]) -> None:
        content["files"][name] = record
        content["variants"][0]["step"] = name

    edit(bundle, point)
    with pytest.raises(BundleError, match="expected names of files inside the bundle"):
        Bundle.open(bundle.path)


def test_a_link_out_of_the_bundle_is_refused(bundle: Bundle) -> None:
    outside = bundle.path.parent / "outside.onnx"
    (bundle.path / "encoder.onnx").rename(outside)
    (bundle.path / "encoder.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="is a link out of the bundle"):
        Bundle.open(bundle.path)


def test_a_linked_directory_out_of_the_bundle_is_refused(bundle: Bundle) -> None:
    (bundle.path / "graphs").rename(bundle.path.parent / "graphs")
    (bundle.path / "graphs").symlink_to(bundle.path.parent / "graphs")
    with pytest.raises(BundleError, match="is a link out of the bundle"):
        Bundle.open(bundle.path)


def test_a_loop_of_links_is_refused(bundle: Bundle) -> None:
    (bundle.path / "encoder.onnx").unlink()
    (bundle.path / "encoder.onnx").symlink_to("encoder.onnx")
    with pytest.raises(BundleError, match=r"encoder\.onnx"):
        Bundle.open(bundle.path)


def test_a_bundle_may_itself_be_reached_through_a_link(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle.path)
    assert Bundle.open(tmp_path / "link").manifest == bundle.manifest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_file_does_not_hang(bundle: Bundle) -> None:
    (bundle.path / "encoder.onnx").unlink()
    os.mkfifo(bundle.path / "encoder.onnx")
    with pytest.raises(BundleError, match=r"expected the file 'encoder\.onnx'"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["encoder.onnx", "graphs/step.onnx"])
def test_a_graph_with_external_data_is_refused(bundle: Bundle, name: str) -> None:
    replace_file(bundle, name, with_external_data())
    with pytest.raises(BundleError, match=f"{name}: expected a graph in one file"):
        Bundle.open(bundle.path)


def test_external_data_is_found_under_any_file_name(bundle: Bundle) -> None:
    replace_file(bundle, "weights.bin", with_external_data())
    edit(bundle, lambda content: content["variants"][0].update(step="weights.bin"))
    with pytest.raises(BundleError, match=r"weights\.bin: expected a graph in one file"):
        Bundle.open(bundle.path)


def test_a_variant_of_a_file_that_is_not_listed_is_refused(bundle: Bundle) -> None:
    edit(bundle, lambda content: content["variants"][0].update(encoder="other.onnx"))
    with pytest.raises(BundleError, match=r"variants\[0\]\.encoder names 'other\.onnx'"):
        Bundle.open(bundle.path)


def test_a_graph_may_be_a_directory_of_files(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    core_ml = Variant("coreml", "fp16", "encoder.mlpackage", "step.mlpackage")
    parts: dict[str, bytes | Path] = {
        f"{graph}.mlpackage/Data/{name}": b"{}"
        for graph in ("encoder", "step")
        for name in ("model.mlmodel", "weights.bin")
    }
    manifest = replace(manifest, variants=(*manifest.variants, core_ml))
    bundle = write_bundle(tmp_path / "bundle", manifest, {**files, **parts})
    assert bundle.variant("coreml") == core_ml


def test_golden_arrays_without_pickle_only(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"Python objects in \['greedy'\]"):
        golden_npz({"greedy": np.array([{}], dtype=object)})
    pickled = io.BytesIO()
    np.savez(pickled, greedy=np.array([{}], dtype=object))
    replace_file(bundle, "golden.npz", pickled.getvalue())
    with pytest.raises(BundleError, match=r"is not a plain \.npz"):
        Bundle.open(bundle.path).golden()
    replace_file(bundle, "golden.npz", b"PK\x05\x06 nonsense")
    with pytest.raises(BundleError, match=r"is not a plain \.npz"):
        Bundle.open(bundle.path).golden()


def test_damage_inside_golden_arrays_is_told(bundle: Bundle) -> None:
    plain = io.BytesIO()
    np.savez_compressed(plain, greedy=np.zeros(100))
    good = plain.getvalue()
    first = good.index(b"greedy.npy") + len(b"greedy.npy")
    first += int.from_bytes(good[28:30], "little")  # of the local header: more fields
    stream = good[:first] + b"\xff" * 6 + good[first + 6 :]
    entry = good.index(b"PK\1\2")
    method = bytearray(good)
    method[8:10] = method[entry + 10 : entry + 12] = (99).to_bytes(2, "little")
    for damaged in (stream, bytes(method)):
        replace_file(bundle, "golden.npz", damaged)
        with pytest.raises(BundleError, match=r"is not a plain \.npz"):
            Bundle.open(bundle.path).golden()


def test_golden_bytes_are_reproducible() -> None:
    arrays = {"a": np.arange(1000.0), "b": np.array([1], np.int64)}
    assert golden_npz(arrays) == golden_npz(arrays)


def test_a_bundle_without_golden_says_so(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    bundle = write_bundle(tmp_path / "bundle", replace(manifest, golden=None), files)
    with pytest.raises(BundleError, match="found none"):
        bundle.golden()


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"a directory with manifest\.json, found none"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"a directory with manifest\.json, found none"):
        Bundle.open(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"")
    with pytest.raises(BundleError, match="expected JSON"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(tmp_path / "manifest.json")
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open("a\0b")
    for wrong in (5, ["x"], b"x"):
        with pytest.raises(BundleError, match="expected the path of a bundle, found"):
            Bundle.open(wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads without permission"
)
def test_a_file_without_permission_is_refused(bundle: Bundle) -> None:
    (bundle.path / "encoder.onnx").chmod(0)
    with pytest.raises(BundleError, match="check its permissions"):
        Bundle.open(bundle.path)


def test_a_failed_write_leaves_the_old_bundle(
    bundle: Bundle, files: dict[str, bytes | Path]
) -> None:
    before = bundle.read("encoder.onnx")
    for bad, said in (
        ({**files, "encoder.onnx": with_external_data()}, "external data"),
        ({**files, "../x": b""}, "inside the bundle"),
        ({"golden.npz": files["golden.npz"]}, "not among its files"),
    ):
        with pytest.raises(BundleError, match=said):
            write_bundle(bundle.path, bundle.manifest, bad)
    with pytest.raises(FileNotFoundError):
        write_bundle(bundle.path, bundle.manifest, {**files, "x": Path("nowhere")})
    assert Bundle.open(bundle.path).read("encoder.onnx") == before
    assert os.listdir(bundle.path.parent) == ["bundle"], "something half-written was left"


def test_only_a_bundle_is_replaced(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes | Path]
) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("keep me")
    for path in (letters, letters / "dear.txt"):
        with pytest.raises(BundleError, match="found something else"):
            write_bundle(path, manifest, files)
    assert (letters / "dear.txt").read_text() == "keep me"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert write_bundle(empty, manifest, files).path == empty


def test_a_place_that_cannot_be_written_to_is_refused(
    tmp_path: Path,
    manifest: Manifest,
    files: dict[str, bytes | Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("keep me")
    for place in ("file/bundle", "file/below/bundle"):
        with pytest.raises(BundleError, match="file is none; name another place"):
            write_bundle(tmp_path / place, manifest, files)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("inktex.core.bundle._write", full)
    with pytest.raises(BundleError, match=r"cannot be written \(No space left on device\)"):
        write_bundle(tmp_path / "bundle", manifest, files)
    assert os.listdir(tmp_path) == ["file"]


def test_others_may_read_what_was_written(bundle: Bundle) -> None:
    probe = bundle.path.parent / "probe"
    probe.mkdir()
    assert bundle.path.stat().st_mode == probe.stat().st_mode
