from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from inktex.core.confidence import Calibration
from inktex.core.errors import BundleError
from inktex.core.manifest import (
    FORMAT_VERSION,
    Decoding,
    FileRecord,
    GraphSpec,
    Interface,
    Manifest,
    Preprocessing,
    StateSpec,
    TensorSpec,
    Variant,
)
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

INTERFACE = Interface(
    encoder=GraphSpec(
        inputs=(TensorSpec("images", "float32", ("batch", 1, "height", "width")),),
        outputs=(
            TensorSpec("memory_keys", "float32", ("batch", 1, 2, "cells", 4)),
            TensorSpec("memory_bias", "float32", ("batch", "cells")),
        ),
    ),
    step=GraphSpec(
        inputs=(
            TensorSpec("tokens", "int64", ("beams",)),
            TensorSpec("position", "int64", (1,)),
            TensorSpec("memory_keys", "float32", (1, 1, 2, "cells", 4)),
            TensorSpec("memory_bias", "float32", (1, "cells")),
            TensorSpec("cache", "float32", (1, "beams", 8, 4)),
        ),
        outputs=(
            TensorSpec("log_probs", "float32", ("beams", 5)),
            TensorSpec("next_cache", "float32", (1, "beams", 8, 4)),
        ),
    ),
    state=(StateSpec("cache", "next_cache", length_axis=2),),
)


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        vocabulary=Vocabulary((*SPECIAL_TOKENS, "x", "\\pi")),
        interface=INTERFACE,
        preprocessing=Preprocessing("normalised-ink", {"multiple": 16, "max_pixels": 4096}),
        decoding=Decoding(max_length=8, beams=3, length_penalty=0.5, rescore=True),
        variants=(
            Variant("onnxruntime", "int8", "encoder.int8.onnx", "step.onnx", {"2014": [51.5]}),
            Variant("onnxruntime", "fp32", "encoder.onnx", "step.onnx"),
        ),
        provenance={"recipe": {"layers": 1}, "data": "sha256:…", "seed": None},
        licence="CC BY-NC-SA 3.0",
        golden="golden.npz",
        confidence=Calibration(0.5, 1.0, 2.0, 0.25),
        files={"step.onnx": FileRecord("0" * 64, 12)},
    )


def edited(manifest: Manifest, path: str, value: Any) -> str:
    """The manifest's JSON with the field at `path` (dots and numbers) replaced."""
    content = json.loads(manifest.to_json())
    *places, last = path.split(".")
    part = content
    for place in places:
        part = part[int(place) if place.isdigit() else place]
    part[int(last) if last.isdigit() else last] = value
    return json.dumps(content)


def test_json_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json().encode()) == manifest


def test_json_names_what_another_language_needs(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    assert content["format_version"] == FORMAT_VERSION
    assert content["vocabulary"] == ["<pad>", "<sos>", "<eos>", "x", "\\pi"]
    assert content["interface"]["encoder"]["inputs"][0] == {
        "name": "images",
        "dtype": "float32",
        "shape": ["batch", 1, "height", "width"],
    }
    assert content["interface"]["state"] == [
        {"input": "cache", "output": "next_cache", "length_axis": 2, "in_place": False}
    ]
    assert content["files"]["step.onnx"] == {"sha256": "0" * 64, "size": 12}


def test_what_may_be_written_in_place_is_kept_and_may_be_missing(manifest: Manifest) -> None:
    [state] = manifest.interface.state
    interface = replace(manifest.interface, state=(replace(state, in_place=True),))
    written = replace(manifest, interface=interface).to_json()
    assert Manifest.from_json(written).interface == interface
    content = json.loads(written)
    del content["interface"]["state"][0]["in_place"]  # as in bundles from before
    assert Manifest.from_json(json.dumps(content)) == manifest


def test_a_later_format_version_says_to_upgrade(manifest: Manifest) -> None:
    later = json.dumps({"format_version": FORMAT_VERSION + 1, "everything": "else differs"})
    with pytest.raises(BundleError, match=r"upgrade with `pip install --upgrade inktex`"):
        Manifest.from_json(later)


@pytest.mark.parametrize(
    "field",
    [
        "format_version", "vocabulary", "interface", "preprocessing", "decoding", "variants",
        "provenance", "licence", "golden", "files",
    ],
)  # fmt: skip
def test_a_missing_field_is_named(manifest: Manifest, field: str) -> None:
    content = json.loads(manifest.to_json())
    del content[field]
    with pytest.raises(BundleError, match=rf"\n  {field}: expected .*, found nothing"):
        Manifest.from_json(json.dumps(content))


def test_bundles_from_before_there_was_a_calibration_are_read(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    del content["confidence"]
    assert Manifest.from_json(json.dumps(content)) == replace(manifest, confidence=None)
    assert Manifest.from_json(edited(manifest, "confidence", None)).confidence is None


def test_bundles_from_before_beams_had_a_calibration_are_read(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    del content["beam_confidence"]
    del content["confidence"]["margin"]
    assert Manifest.from_json(json.dumps(content)) == manifest
    beam = replace(manifest, beam_confidence=Calibration(0.5, 1.0, 2.0, 0.25, 0.75))
    assert Manifest.from_json(beam.to_json()) == beam
    with pytest.raises(BundleError, match=r"beam_confidence\.margin: expected"):
        Manifest.from_json(
            edited(beam, "beam_confidence", {"margin": "much", **content["confidence"]})
        )


def test_bundles_from_before_braces_could_be_spared_are_read(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    assert content.pop("brief") is False
    assert Manifest.from_json(json.dumps(content)) == manifest
    brief = replace(manifest, vocabulary=replace(manifest.vocabulary, brief=True))
    assert Manifest.from_json(brief.to_json()) == brief
    with pytest.raises(BundleError, match="brief: expected"):
        Manifest.from_json(edited(manifest, "brief", "very"))


def test_bundles_from_before_there_was_rescoring_are_read(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    del content["decoding"]["rescore"]
    assert not Manifest.from_json(json.dumps(content)).decoding.rescore


TREE = GraphSpec(
    inputs=(
        TensorSpec("tokens", "int64", ("nodes",)),
        TensorSpec("positions", "int64", ("nodes",)),
        TensorSpec("ancestors", "float32", ("nodes", "nodes")),
        TensorSpec("memory_keys", "float32", (1, 1, 2, "cells", 4)),
        TensorSpec("memory_bias", "float32", (1, "cells")),
    ),
    outputs=(
        TensorSpec("log_probs", "float32", ("nodes", 5)),
        TensorSpec("next_cache", "float32", (1, 1, "nodes", 4)),
    ),
)


def test_a_graph_for_trees_is_part_of_interface_and_variant(manifest: Manifest) -> None:
    first, second = manifest.variants
    first = replace(first, tree="tree.int8.onnx")
    reading = replace(manifest, interface=replace(INTERFACE, tree=TREE), variants=(first, second))
    assert Manifest.from_json(reading.to_json()) == reading
    assert [*first.graphs] == ["encoder", "step", "tree"]
    assert [*second.graphs] == ["encoder", "step"]


def test_bundles_from_before_there_were_trees_are_read(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    assert content["interface"].pop("tree") is None
    assert [each.pop("tree") for each in content["variants"]] == ["", ""]
    assert Manifest.from_json(json.dumps(content)) == manifest


def test_what_makes_no_sense_of_a_graph_for_trees_is_named(manifest: Manifest) -> None:
    for inputs, outputs, said in (
        (TREE.inputs[1:], TREE.outputs, "inputs: 'tokens' is fed by nothing, or missing"),
        (TREE.inputs, TREE.outputs[:1], "outputs: expected ['log_probs', 'next_cache']"),
        (TREE.inputs, INTERFACE.step.outputs, "each with an axis 'nodes'"),
    ):
        with pytest.raises(BundleError) as error:
            replace(manifest, interface=replace(INTERFACE, tree=GraphSpec(inputs, outputs)))
        assert said in str(error.value)
    variant = replace(manifest.variants[0], tree="tree.onnx")
    with pytest.raises(BundleError, match=r"onnxruntime int8 has the graph 'tree\.onnx'"):
        replace(manifest, variants=(variant,))


def test_who_leaves_cells_out_tells_which(manifest: Manifest) -> None:
    keys, bias = INTERFACE.encoder.outputs
    told = replace(bias, shape=("batch", "all_cells"))
    encoder = replace(INTERFACE.encoder, outputs=(keys, told))
    kept = replace(INTERFACE, encoder=encoder)
    replace(manifest, interface=kept)
    with pytest.raises(BundleError, match="memory_bias: expected the encoder's output with the"):
        replace(manifest, interface=replace(kept, memory_bias=""))


def test_every_ill_typed_field_is_named_at_once(manifest: Manifest) -> None:
    content = json.loads(manifest.to_json())
    content["licence"] = 3
    content["decoding"]["beams"] = True
    content["decoding"]["length_penalty"] = "one"
    content["decoding"]["rescore"] = 1
    content["variants"][1]["encoder"] = None
    content["interface"]["step"]["inputs"][0]["shape"] = [1.5]
    content["vocabulary"][3] = ["x"]
    content["files"]["step.onnx"] = {"sha256": "../../etc", "size": -3}
    content["golden"] = 1
    content["confidence"] = {"bias": "x", "total": float("nan"), "least": 1}
    with pytest.raises(BundleError) as error:
        Manifest.from_json(json.dumps(content))
    for path in (
        "licence",
        "decoding.beams",
        "decoding.length_penalty",
        "decoding.rescore",
        "variants[1].encoder",
        "interface.step.inputs[0].shape[0]",
        "vocabulary[3]",
        "files['step.onnx'].sha256",
        "files['step.onnx'].size",
        "golden",
        "confidence.bias",
        "confidence.total",
        "confidence.length",
    ):
        assert f"\n  {path}: expected" in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("format_version", 0, "format_version: expected 1"),
        ("vocabulary", ["x"], "vocabulary: a vocabulary starts with <pad>"),
        ("decoding.max_length", 0, "decoding.max_length: expected 1 or more, found 0"),
        ("decoding.length_penalty", -0.5, "length_penalty: expected a number from 0 to 10, found"),
        ("decoding.length_penalty", 10**400, "length_penalty: expected a number, found int"),
        ("decoding.length_penalty", 1e300, "length_penalty: expected a number from 0 to 10, found"),
        ("variants", [], "variants: expected at least one"),
        ("variants.0.precision", "fp32", "onnxruntime fp32 appears more than once"),
        ("interface.step.inputs.0.dtype", "object", "tokens: unknown dtype 'object'"),
        ("interface.step.inputs.0.shape", ["planes"], "tokens: axis 'planes'"),
        ("interface.step.inputs.0.shape", [0], "tokens: axis 0"),
        ("interface.step.inputs.0.name", "words", "interface.tokens: 'tokens' is not among"),
        ("interface.step.inputs.4.shape", [1, "beams", 9, 4], "differ in dtype or shape"),
        ("interface.state.0.length_axis", 1, "length_axis: 1 is no axis of a length"),
        ("interface.state.0.in_place", 1, "in_place: expected true or false, found int"),
        ("interface.state.0.output", "cache", "is not a step input and a step output"),
        ("interface.state", [], "'cache' is fed by nothing"),
        ("interface.memory_bias", "bias", "interface.memory_bias: 'bias' is not among"),
        ("interface.image", "image", "interface.image: 'image' is not among"),
        (
            "interface.step.outputs.0.shape",
            ["beams", 6],
            "interface.log_probs: expected the axes beams and 5, as many as the vocabulary",
        ),
        (
            "interface.encoder.inputs.0.shape",
            ["batch", "beams", "height", "width"],
            "interface.image: expected axes batch, a number of channels, height and width",
        ),
    ],
)
def test_contradictions_are_named(manifest: Manifest, path: str, value: Any, said: str) -> None:
    with pytest.raises(BundleError) as error:
        Manifest.from_json(edited(manifest, path, value))
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"{}"', "[" * 100_000, b"\xff\xfe{"])
def test_what_is_no_manifest_is_refused(text: str | bytes) -> None:
    with pytest.raises(BundleError, match="expected"):
        Manifest.from_json(text)


def test_what_json_cannot_express_is_refused(manifest: Manifest) -> None:
    for value in (float("nan"), {1, 2}, b"bytes"):
        with pytest.raises(BundleError, match="cannot be written as JSON"):
            replace(manifest, provenance={"value": value}).to_json()


def test_limits_are_kept_and_may_be_missing(manifest: Manifest) -> None:
    first, *others = manifest.variants
    limited = replace(first, limits={"height": 1024, "beams": 16})
    written = replace(manifest, variants=(limited, *others)).to_json()
    assert Manifest.from_json(written).variants[0] == limited
    content = json.loads(manifest.to_json())
    for variant in content["variants"]:
        del variant["limits"]  # as bundles were before there were any
    assert Manifest.from_json(json.dumps(content)) == manifest
    content["variants"][0]["limits"] = {"beams": "many", "cells": 0}
    with pytest.raises(BundleError) as error:
        Manifest.from_json(json.dumps(content))
    assert "variants[0].limits.beams: expected a whole number" in str(error.value)
    assert "variants[0].limits.cells: expected a size of 1 or more" in str(error.value)
