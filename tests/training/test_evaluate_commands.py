from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inktex.core.bundle import Bundle
from inktex.core.rendering import render_ink
from inktex.training.inkset import fingerprint, load_inkset, save_inkset
from inktex.training.split import split_expressions

from .command_line import inktex
from .synthetic import bundle, checkpoint, checkpoint_file, expressions, recipe


def scores(*arguments: str | Path) -> dict[str, Any]:
    """What `inktex evaluate ... --json` prints."""
    result = inktex("evaluate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_bundle_is_evaluated_as_its_users_read_it(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = bundle(tmp_path_factory).path
    found = scores(path, inkset, "--limit", "4")
    assert found["count"] == 4
    assert found["model"] == str(path)
    assert found["data"] == str(inkset)
    settings = {name: found[name] for name in ("runtime", "precision", "beam", "grammar")}
    assert settings == {
        "runtime": "onnxruntime",
        "precision": "fp32",
        "beam": 1,
        "grammar": True,
    }
    assert found["split"] == "all"
    assert {"by_length", "by_structure", "confusions", "unreadable"} <= set(found)
    readings = tmp_path / "readings.jsonl"
    result = inktex(
        "evaluate", path, inkset, "--limit", "3", "--beam", "2", "--no-grammar", "-o", readings
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        f"{path} on {inkset}: onnxruntime fp32, beam 2 without grammar\n\nExpRate "
    )
    for word in ("1-5 tokens", "scripts", "misread"):
        assert word in result.stdout
    assert len(lines(readings)) == 3
    assert all(0 <= line["confidence"] <= 1 for line in lines(readings))


@pytest.mark.parametrize("options", [[], ["--beam", "3"], ["--no-grammar"]])
def test_a_checkpoint_scores_as_its_bundle(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, options: list[str]
) -> None:
    found, brier = [], []
    for name, model in (
        ("bundle", bundle(tmp_path_factory).path),
        ("checkpoint", checkpoint_file(tmp_path)),
    ):
        readings = tmp_path / f"{name}.jsonl"
        result = scores(model, inkset, "--limit", "6", "-o", readings, *options)
        brier.append(result.pop("confidence")["as it is"]["brier"])
        own = {key: value for key, value in result.items() if key not in ("model", "runtime")}
        found.append((own, [line["read"] for line in lines(readings)]))
    assert found[0] == found[1]
    assert brier[0] == pytest.approx(brier[1], rel=1e-3)


def test_a_checkpoint_reads_images_too(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    images, captions = tmp_path / "images", tmp_path / "captions.tsv"
    images.mkdir()
    made = expressions(3)
    for each in made:
        drawn = render_ink([stroke.astype(np.float64) for stroke in each.strokes])
        Image.fromarray(255 - drawn).save(images / f"{each.identifier}.png")
    Image.new("L", (40, 40), 255).save(images / "blank.png")
    captions.write_text(
        "".join(f"{each.identifier}\t{' '.join(each.caption)}\n" for each in made) + "blank\tx\n"
    )
    found = []
    for model in (bundle(tmp_path_factory).path, checkpoint_file(tmp_path)):
        readings = tmp_path / "readings.jsonl"
        result = scores(model, images, "--captions", captions, "-o", readings)
        assert result["count"] == 4
        assert set(result["unreadable"]) == {"blank"}
        found.append([line["read"] for line in lines(readings)])
    assert found[0] == found[1]


def test_the_page_of_errors(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = tmp_path / "errors.html"
    path = bundle(tmp_path_factory).path
    options = ("--limit", "6", "--beam", "2", "--errors", page)
    found = scores(path, inkset, *options)
    text = page.read_text(encoding="utf-8")
    wrong = found["count"] - found["exact_count"]
    assert wrong > 1
    assert text.count("<article") == wrong
    assert "the 2 best readings" in text
    assert "fp32, beam 2" in text
    scores(path, inkset, *options, "--errors-limit", "1")
    assert page.read_text(encoding="utf-8").count("<article") == 1


@pytest.mark.parametrize("beam", ["1", "2"])
def test_a_bundle_learns_how_sure_it_may_be(
    beam: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, inkset = tmp_path / "copy", tmp_path / "made.inkset"
    shutil.copytree(bundle(tmp_path_factory).path, path)
    save_inkset(inkset, expressions(40))
    readings = tmp_path / "readings.jsonl"
    search = ("--beam", beam)
    assert inktex("evaluate", path, inkset, "-o", readings, *search).exit_code == 0
    read = {line["identifier"]: tuple(line["read"].split()) for line in lines(readings)}
    told = []
    for number, each in enumerate(load_inkset(inkset)):
        caption = read[each.identifier] or ("0",)
        if number % 3 == 0:
            caption = ("x", "x")  # is not what it reads
        told.append(replace(each, caption=caption, ink=((),) * len(caption)))
    save_inkset(tmp_path / "told.inkset", told)
    picture = tmp_path / "reliability.png"
    arguments = ("evaluate", path, tmp_path / "told.inkset", "--reliability", picture)
    result = inktex(*arguments, "--calibrate", *search)
    assert result.exit_code == 0, result.output
    assert "as it is: confidence: off by" in result.stdout
    assert "calibrated, on what it was not fitted to: confidence: off by" in result.stdout
    manifest = Bundle.open(path).manifest
    assert (manifest.confidence is not None) == (beam == "1")
    assert (manifest.beam_confidence is not None) == (beam == "2")
    with Image.open(picture) as image:
        assert image.format == "PNG"
    after = scores(path, tmp_path / "told.inkset", *search)["confidence"]["as it is"]
    assert after["calibration_error"] < 0.3


def test_scores_are_recorded_in_the_bundle(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(bundle(tmp_path_factory).path, path)
    found = scores(path, inkset, "--limit", "2", "--record", "made")
    scores(path, inkset, "--limit", "3", "--record", "made", "--beam", "2", "--no-grammar")
    recorded: Any = Bundle.open(path).manifest.variants[0].exp_rate
    assert recorded["made"]["greedy"]["exact"] == found["exact"]
    assert recorded["made"]["greedy"]["count"] == 2
    assert recorded["made"]["beam 2 without grammar"]["count"] == 3


def test_the_validation_split_is_what_training_held_out(inkset: Path, tmp_path: Path) -> None:
    settings = recipe()
    made = load_inkset(inkset)
    _, held_out = split_expressions(made, settings.validation_share, settings.split_seed)
    assert 0 < len(held_out) < len(made)
    path = tmp_path / "tiny.safetensors"
    told = {"validation": {"expressions": len(held_out), "fingerprint": fingerprint(held_out)}}
    replace(checkpoint(), provenance=told).save(path)
    readings = tmp_path / "readings.jsonl"
    found = scores(path, inkset, "--split", "validation", "-o", readings)
    assert found["count"] == len(held_out)
    assert [line["identifier"] for line in lines(readings)] == [
        each.identifier for each in held_out
    ]
    other = replace(held_out[0], caption=("x",), ink=((),))
    save_inkset(inkset, [other if each is held_out[0] else each for each in made])
    result = inktex("evaluate", path, inkset, "--split", "validation")
    assert result.exit_code == 2
    assert "it changed since, or is another set" in result.stderr


def test_what_does_not_apply_is_refused(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    exported, trained = bundle(tmp_path_factory).path, checkpoint_file(tmp_path)
    images, captions = tmp_path / "images", tmp_path / "captions.tsv"
    images.mkdir()
    (images / "a.png").write_bytes(b"never looked at")
    captions.write_text("a\tx\n")
    for arguments, said in (
        ((exported, inkset, "--precision", "int8"), "int8"),
        ((trained, inkset, "--precision", "int8"), "a checkpoint is read in fp32"),
        ((exported, inkset, "--runtime", "openvino"), "target 'openvino'"),
        ((trained, inkset, "--runtime", "openvino"), "a checkpoint is read by torch"),
        ((trained, inkset, "--record", "made"), "--record: expected a bundle"),
        ((trained, inkset, "--calibrate"), "--calibrate: expected a bundle"),
        ((trained, inkset, "--captions", captions), "leave --captions out"),
        ((trained, images), "--captions"),
        ((trained, inkset, "--errors-limit", "3"), "expected --errors PAGE.html with it"),
        ((trained, inkset, "--errors", tmp_path / "no" / "x.html"), "--errors: expected a file"),
        ((trained, inkset, "-o", tmp_path), "--output: expected a file"),
        ((trained, inkset, "--limit", "0"), "--limit"),
        ((trained, inkset, "--beam", "0"), "--beam"),
        (
            (trained, images, "--captions", captions, "--split", "validation"),
            "--split validation: expected an ink set",
        ),
        ((tmp_path / "none.safetensors", inkset), "a checkpoint (a file) at"),
        ((trained, tmp_path / "none.inkset"), "expected a data set"),
    ):
        result = inktex("evaluate", *arguments)
        assert result.exit_code == 2, arguments
        assert said in result.stderr, arguments
    save_inkset(tmp_path / "empty.inkset", [])
    result = inktex("evaluate", trained, tmp_path / "empty.inkset")
    assert result.exit_code == 2
    assert "expected formulas to read, found none" in result.stderr


def test_a_bundle_that_tells_no_split_is_told(
    inkset: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(bundle(tmp_path_factory).path, path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["provenance"] = {"recipe": "made by hand"}
    (path / "manifest.json").write_text(json.dumps(manifest))
    result = inktex("evaluate", path, inkset, "--split", "validation")
    assert result.exit_code == 2
    assert "expected a model that tells the split of its training" in result.stderr
