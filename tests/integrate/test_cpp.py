"""The C++ of docs/integrate, compiled with ONNX Runtime's headers and the library of its wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from inktex.core.bundle import Bundle
from inktex.core.ink_file import read_ink
from inktex.core.preparation import prepare_image
from inktex.core.rendering import CANONICAL, Rendering
from inktex.export.checkpoint_bundle import export_bundle
from inktex.runtimes import DEFAULT_BUNDLE, load
from inktex.training.preprocessing import preprocessing

from ..conftest import REPOSITORY
from ..core.real_ink import sampled
from ..training import recurrent, synthetic

SOURCES = REPOSITORY / "docs" / "integrate" / "cpp"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.inkml"))
HEADERS = ("onnxruntime_cxx_api.h", "nlohmann/json.hpp")

Strokes = list[NDArray[np.float64]]

# Draws: a line {"strokes": ..., "parameters": ...} to height, width and bytes. Reads an image of
# raw float32 if there are arguments: BUNDLE FILE HEIGHT WIDTH.
CHECK = """
#include <iostream>
#include "inktex.hpp"

int main(int count, char** arguments) {
  if (count == 5) {
    inktex::Image image{std::stoi(arguments[3]), std::stoi(arguments[4]), {}};
    image.values.resize(image.height * image.width);
    std::ifstream file(arguments[2], std::ios::binary);
    file.read(reinterpret_cast<char*>(image.values.data()), 4 * image.values.size());
    for (const auto& token : inktex::Recognizer(arguments[1]).read(image).tokens) {
      std::cout << token << ' ';
    }
    return 0;
  }
  for (std::string line; std::getline(std::cin, line);) {
    const auto given = inktex::Json::parse(line);
    const auto image = inktex::prepared(given.at("strokes"), given.at("parameters"));
    std::cout << image.height << ' ' << image.width;
    for (const float value : image.values) std::cout << ' ' << std::lround(255 * value);
    std::cout << std::endl;
  }
}
"""


def missing(what: str) -> None:
    """Skip, or fail where continuous integration wants the compiler (INKTEX_REQUIRE_CPP=1)."""
    if os.environ.get("INKTEX_REQUIRE_CPP") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`read`, and `check` from above, compiled."""
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    libraries = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    named = os.environ.get("INKTEX_ONNXRUNTIME_INCLUDE", "")
    places = [Path(each) for each in (named, "/usr/include/onnxruntime", "/usr/include") if each]
    found = [next((p for p in places if (p / name).is_file()), None) for name in HEADERS]
    if compiler is None or not libraries or None in found:
        missing(
            "needs a C++ compiler, a Linux wheel of onnxruntime, and the headers of ONNX Runtime "
            "(in INKTEX_ONNXRUNTIME_INCLUDE) and of nlohmann/json"
        )
    assert compiler is not None
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "check.cpp").write_text(CHECK)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # as it is called when it is linked
        (folder / name).symlink_to(libraries[-1])
    made = {}
    for source in (SOURCES / "read.cpp", folder / "check.cpp"):
        made[source.stem] = folder / source.stem
        arguments = [
            "-std=c++17",
            "-O1",
            "-ffp-contract=off",
            "-Wall",
            "-Wextra",
            "-Werror",
            f"-I{SOURCES}",
        ]
        # the warnings of other people's headers are theirs
        arguments += ["-isystem", str(found[0])]
        arguments += [str(source), "-o", str(made[source.stem])]
        arguments += [f"-L{folder}", "-lonnxruntime", f"-Wl,-rpath,{folder}"]
        done = subprocess.run([compiler, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return made


def run(program: Path, *arguments: object, given: str = "") -> str:
    done = subprocess.run(
        [program, *map(str, arguments)], input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ink(path: Path) -> Strokes:
    return list(read_ink(path.read_bytes(), path.name).strokes)


def lines(formulas: list[Strokes], **more: object) -> str:
    told = [{"strokes": [stroke.tolist() for stroke in each], **more} for each in formulas]
    return "".join(json.dumps(each) + "\n" for each in told)


def assert_drawn_alike(check: Path, formulas: list[Strokes], rendering: Rendering) -> None:
    settings = preprocessing(rendering)
    answers = run(check, given=lines(formulas, parameters=dict(settings.parameters))).splitlines()
    for strokes, answer in zip(formulas, answers, strict=True):
        height, width, *values = map(int, answer.split())
        wanted = np.rint(prepare_image(strokes, settings)[0, 0] * 255).astype(int)
        np.testing.assert_array_equal(np.reshape(values, (height, width)), wanted)


def test_every_pixel_is_that_of_the_recognizer(programs: dict[str, Path]) -> None:
    dot, bar = [np.array([[3.0, 4.0]])], [np.array([[0.0, 5.0], [40.0, 5.5]])]
    wide = [np.array([[0.0, 0.0], [1.0, 20.0]]), np.array([[9000.0, 0.0], [9000.0, 15.0]])]
    begun = [np.empty((0, 2)), *bar]
    formulas: list[Strokes] = [dot, bar, wide, begun, *map(ink, EXAMPLES)]
    for rendering in (Rendering(), CANONICAL, Rendering(21.5, 2.125), Rendering(20, 1.875)):
        assert_drawn_alike(programs["check"], formulas, rendering)


def test_what_cannot_be_drawn_is_told(programs: dict[str, Path]) -> None:
    far = '{"strokes": [[[0, 0], [1e308, -1e308]], [[-1e308, 1e308]]]}'
    done = subprocess.run(
        [programs["read"], DEFAULT_BUNDLE], input=far, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "points of numbers within 1e9" in done.stderr


def test_every_pixel_of_real_ink(programs: dict[str, Path], data_root: Path) -> None:
    formulas = [list(each) for each in sampled(data_root, "2016", 11, 100)]
    assert_drawn_alike(programs["check"], formulas, Rendering())


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The one that comes with inktex, one as it is exported now, and one with a recurrent
    decoder."""
    folder = tmp_path_factory.mktemp("bundles")
    return [
        DEFAULT_BUNDLE,
        export_bundle(synthetic.checkpoint(), folder / "edge").path,
        export_bundle(recurrent.checkpoint("coverage"), folder / "coverage").path,
    ]


def test_formulas_are_read_as_inktex_reads_them(
    programs: dict[str, Path], bundles: list[Path]
) -> None:
    formulas = [ink(path) for path in EXAMPLES]
    for path in bundles:
        recognizer = load(path)
        answers = run(programs["read"], path, given=lines(formulas)).splitlines()
        for strokes, answer in zip(formulas, answers, strict=True):
            confidence, tokens = answer.split("\t")
            expected = recognizer(strokes, beam=1, constrain=False)
            places = recognizer.manifest.vocabulary.written(expected.tokens)
            assert tokens.split() == [expected.tokens[place] for place in places]
            assert float(confidence) == pytest.approx(expected.confidence, rel=0.02)


def test_a_reading_leaves_nothing_in_the_users_home(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    known = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in known}
    done = subprocess.run(
        [programs["read"], DEFAULT_BUNDLE],
        input=lines([ink(EXAMPLES[0])]),
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "x ^ { 2 }" in done.stdout
    assert list(tmp_path.rglob("*")) == []


def test_the_golden_image_gives_the_golden_tokens(
    programs: dict[str, Path], bundles: list[Path], tmp_path: Path
) -> None:
    for path in bundles:
        bundle = Bundle.open(path)
        golden = bundle.golden()
        image = golden["encoder.images"].astype(np.float32)
        (tmp_path / "image.f32").write_bytes(image.tobytes())
        found = run(programs["check"], path, tmp_path / "image.f32", *image.shape[2:]).split()
        vocabulary = bundle.manifest.vocabulary.tokens
        assert found == [vocabulary[number] for number in golden["greedy"].tolist()]


@pytest.mark.parametrize("strokes", [[], [[]]])
def test_what_is_no_ink_is_told(programs: dict[str, Path], strokes: list[object]) -> None:
    done = subprocess.run(
        [programs["read"], DEFAULT_BUNDLE],
        input=json.dumps({"strokes": strokes}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "expected ink with at least one stroke, found none" in done.stderr


def test_what_is_no_bundle_is_told(programs: dict[str, Path], tmp_path: Path) -> None:
    done = subprocess.run([programs["read"], tmp_path], input="", capture_output=True, text=True)
    assert done.returncode == 1
    assert "expected a bundle, found no manifest.json" in done.stderr
    shown = json.loads((DEFAULT_BUNDLE / "manifest.json").read_text(encoding="utf-8"))
    for field, value, said in (
        ("format_version", 2, "format version 1, found 2"),
        ("preprocessing", {"name": "normalised-ink-and-trail"}, "and-trail"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps({**shown, field: value}))
        done = subprocess.run([programs["read"], tmp_path], capture_output=True, text=True)
        assert done.returncode == 1
        assert said in done.stderr
    assert subprocess.run([programs["read"]], capture_output=True).returncode == 2
