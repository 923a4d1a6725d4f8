from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import inktex.runtimes
from inktex.core.bundle import Bundle
from inktex.core.cli import main
from inktex.runtimes import load

STROKES = [[[0, 0], [10, 20]], [[10, 0], [0, 20]], [[20, 5], [30, 5]]]


@pytest.fixture(autouse=True)
def default_bundle(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inktex.runtimes, "DEFAULT_BUNDLE", tiny_bundle.path)


@pytest.fixture
def ink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_text(json.dumps({"strokes": STROKES}))
    return Path("x.json")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["explain", *map(str, arguments)])


def test_a_picture_and_the_latex(ink: Path, tiny_bundle: Bundle) -> None:
    Path("seen.png").write_bytes(b"an older one")
    done = run(ink, "-o", "seen.png")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == load(tiny_bundle)(STROKES).latex + "\n"
    with Image.open("seen.png") as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
    assert sorted(path.name for path in Path().iterdir()) == ["seen.png", "x.json"]


@pytest.mark.parametrize("beam", [1, 3])
def test_json_tells_the_centres(ink: Path, tiny_bundle: Bundle, beam: int) -> None:
    done = run(ink, "--json", "--beam", str(beam), "--layer", "1", "--bundle", tiny_bundle.path)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    result = load(tiny_bundle)(STROKES, beam=beam)
    assert found["path"] == "x.json"
    assert found["latex"] == result.latex
    assert (found["layers"], found["layer"]) == (1, 1)
    assert [each["token"] for each in found["tokens"]] == list(result.tokens)
    size = found["image"]
    assert size["width"] % 16 == size["height"] % 16 == 0
    for each in found["tokens"]:
        assert 0 < each["x"] < size["width"]
        assert 0 < each["y"] < size["height"]
    assert list(Path().iterdir()) == [ink]


def test_without_the_grammar_the_model_writes_as_it_likes(ink: Path, tiny_bundle: Bundle) -> None:
    done = run(ink, "--json", "--no-grammar")
    expected = load(tiny_bundle)(STROKES, constrain=False)
    assert json.loads(done.stdout)["latex"] == expected.latex != load(tiny_bundle)(STROKES).latex


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected -o PICTURE.png, --json, or both"),
        (["-o", "seen.jpg"], "expected the name of a .png file, found seen.jpg"),
        (["-o", "nowhere/seen.png"], "expected a folder at nowhere"),
        (["-o", "seen.png", "--layer", "2"], "expected 1 to 1, as the decoder has, found 2"),
        (["-o", "seen.png", "--layer", "0"], "--layer"),
        (["-o", "seen.png", "--precision", "int8"], "int8"),
        (["-o", "seen.png", "--bundle", "nowhere"], "expected a bundle"),
    ],
)
def test_what_does_not_work_is_told(ink: Path, arguments: list[str], said: str) -> None:
    done = run(ink, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert list(Path().iterdir()) == [ink]


def test_what_cannot_be_read_is_named(ink: Path) -> None:
    done = run("y.json", "-o", "seen.png")
    assert done.exit_code == 2
    assert "y.json: expected a file, found nothing" in done.stderr
