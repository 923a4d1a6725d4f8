from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from inktex.training.inkset import load_inkset, save_inkset

from .command_line import inktex
from .synthetic import expression, expressions
from .test_image_import import png
from .test_ink_import import POWER, inkml


def test_data_is_imported_and_inspected(tmp_path: Path) -> None:
    archive = tmp_path / "ink.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/power.inkml", POWER)
        file.writestr("b/power.inkml", POWER)
        file.writestr("b/plain.inkml", inkml(truth="$y$"))
        file.writestr("b/broken.inkml", "<ink")
    target, report = tmp_path / "made.inkset", tmp_path / "report.json"
    result = inktex("data", "import", archive, "-o", target, "--report", report)
    assert result.exit_code == 0, result.output
    assert "2 expressions imported, 2 skipped" in result.output
    assert "fingerprint" in result.output
    assert {each.identifier for each in load_inkset(target)} == {"power", "plain"}
    skipped = json.loads(report.read_text(encoding="utf-8"))["skipped"]
    assert [each["name"] for each in skipped] == ["b/broken.inkml", "b/power.inkml"]
    assert skipped[1]["reason"] == "an expression of this name was imported already"
    assert "damaged XML" in skipped[0]["detail"]
    seen = inktex("data", "inspect", target).output
    assert seen.startswith("2 expressions, fingerprint ")
    assert "2 distinct captions" in seen
    assert "1 writers named, 1 expressions that name none" in seen


def test_captions_given_win(tmp_path: Path) -> None:
    (tmp_path / "power.inkml").write_text(POWER)
    (tmp_path / "captions.tsv").write_text("power\tX ^ { 2 } =\n")
    arguments = ("data", "import", tmp_path, "-o", tmp_path / "made.inkset", "--captions")
    result = inktex(*arguments, tmp_path / "captions.tsv")
    assert result.exit_code == 0, result.output
    assert "0 of 1 captions equal" in result.output
    [made] = load_inkset(tmp_path / "made.inkset")
    assert made.caption == ("X", "^", "{", "2", "}", "=")


def test_images_are_imported_with_the_columns_named(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(png(number))
    (tmp_path / "table.csv").write_text("page,raw,tex\n0.png,?,x+1\n1.png,?,x^1\n")
    target = tmp_path / "made.inkset"
    columns = ("--image-column", "page", "--caption-column", "tex")
    arguments = ("data", "import", folder, "--captions", tmp_path / "table.csv", "-o", target)
    result = inktex(*arguments, *columns)
    assert result.exit_code == 0, result.output
    assert ["".join(each.caption) for each in load_inkset(target)] == ["x+1", "x^{1}"]
    assert all(each.image is not None for each in load_inkset(target))
    assert "0 of ink, 2 images" in inktex("data", "inspect", target).output
    (tmp_path / "vocabulary.txt").write_text("x\n+\n1\n")
    result = inktex(*arguments, *columns, "--vocabulary", tmp_path / "vocabulary.txt")
    assert "1 expressions imported, 1 skipped" in result.output
    assert "skipped 1: the caption holds an unknown token (as 1.png: ^)" in result.output


def test_what_stands_at_the_output_stays_until_the_new_set_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "made.inkset"
    save_inkset(target, expressions(2))
    before = target.read_bytes()
    (tmp_path / "broken.inkml").write_text("<ink")
    result = inktex("data", "import", tmp_path, "-o", target)
    assert result.exit_code == 2
    assert "skipped 1: the ink cannot be read (as broken.inkml: " in result.output
    assert target.read_bytes() == before


def test_a_set_without_captions_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    target = tmp_path / "made.inkset"
    result = inktex("data", "import", tmp_path, "-o", target, "--unlabelled")
    assert result.exit_code == 0, result.output
    [made] = load_inkset(target)
    assert made.caption == ()


def test_a_set_is_inspected_against_training_and_drawn(tmp_path: Path) -> None:
    training, other = tmp_path / "training.inkset", tmp_path / "other.inkset"
    save_inkset(training, [expression(1)])
    save_inkset(other, expressions(6))
    sheet = tmp_path / "sheet.png"
    arguments = ("data", "inspect", other, "--training", training, "--sheet", sheet)
    result = inktex(*arguments, "--count", "3", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["expressions"] == 6
    assert found["overlap"]["identifiers"] == 1
    assert set(found["overlap"]["unseen"]) >= {"\\frac"}
    with Image.open(sheet) as drawn:
        assert drawn.format == "PNG"
    assert "tokens unseen in training" in inktex(*arguments).output


def test_a_vocabulary_is_built_from_sets(tmp_path: Path) -> None:
    one, other = tmp_path / "one.inkset", tmp_path / "other.inkset"
    save_inkset(one, expressions(3))
    save_inkset(other, [])
    target = tmp_path / "vocabulary.txt"
    result = inktex("data", "vocabulary", one, other, "-o", target)
    assert result.exit_code == 0, result.output
    tokens = target.read_text().split()
    assert tokens == sorted({token for each in expressions(3) for token in each.caption})
    assert f"{len(tokens)} tokens of 3 captions" in result.output
    result = inktex("data", "vocabulary", other, "-o", target)
    assert result.exit_code == 2
    assert "found no token" in result.output
    assert target.read_text().split() == tokens


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing.zip", "-o", "made.inkset"], "expected data at nothing.zip, found nothing"),
        (["ink", "-o", "made.txt"], "expected a name that ends in .inkset"),
        (["ink", "-o", "deep/made.inkset"], "expected a file in an existing folder"),
        (["ink", "-o", "made.inkset", "--captions", "none.tsv"], "found nothing"),
        (
            ["ink", "-o", "made.inkset", "--report", "deep/x"],
            "--report: expected a file in an exist",
        ),
        (["ink", "-o", "folder.inkset"], "expected a file, found the folder folder.inkset"),
        (["", "-o", "made.inkset"], "expected a path, found an empty one"),
        (["ink", "-o", "made.inkset", "--captions", ""], "expected a path, found an empty one"),
        (["ink", "-o", "made.inkset", "--image-column", "x"], "expected --captions with the"),
        (["ink", "-o", "made.inkset", "--vocabulary", "none"], "expected a text file with one"),
        (
            ["ink", "-o", "made.inkset", "--captions", "x", "--unlabelled"],
            "expected --captions or --unlabelled, found both",
        ),
        (["ink", "-o", "made.inkset"], "nothing could be imported"),
        (["empty", "-o", "made.inkset"], "expected a .zip or folder of .inkml files"),
    ],
)
def test_an_import_that_cannot_be_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ink").mkdir()
    Path("ink", "broken.inkml").write_text("<ink")
    Path("empty").mkdir()
    Path("folder.inkset").mkdir()
    result = inktex("data", "import", *arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert not Path("made.inkset").exists()


def test_what_is_empty_is_inspected_and_what_is_lost_is_not(tmp_path: Path) -> None:
    save_inkset(tmp_path / "none.inkset", [])
    sheet = tmp_path / "sheet.png"
    result = inktex("data", "inspect", tmp_path / "none.inkset", "--sheet", sheet)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("0 expressions")
    assert sheet.is_file()
    result = inktex("data", "inspect", tmp_path / "lost.inkset")
    assert result.exit_code == 2
    assert "found none" in result.output


def test_formulas_are_synthesized_and_drawn(tmp_path: Path) -> None:
    source, target, sheet = (tmp_path / name for name in ("a.inkset", "new.inkset", "new.png"))
    save_inkset(source, expressions(30))
    arguments = ("data", "synthesize", source, "-o", target, "-n", "20", "--longest", "6")
    result = inktex(*arguments, "--sheet", sheet)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{target}: 20 formulas with ")
    made = load_inkset(target)
    assert len(made) == 20
    assert max(len(each.caption) for each in made) <= 6
    with Image.open(sheet) as page:
        assert page.format == "PNG"
    first = target.read_bytes()
    assert inktex(*arguments).exit_code == 0
    assert target.read_bytes() == first
    assert inktex(*arguments, "--seed", "1").exit_code == 0
    assert target.read_bytes() != first


def test_no_formula_is_synthesized_that_is_longer_than_wanted(tmp_path: Path) -> None:
    source, target = tmp_path / "a.inkset", tmp_path / "new.inkset"
    made = expressions(30)
    save_inkset(source, made)
    shortest = min(len(each.caption) for each in made)
    arguments = ("data", "synthesize", source, "-o", target, "-n", "50", "--grammar", "0")
    assert inktex(*arguments, "--longest", str(shortest)).exit_code == 0
    assert max(len(each.caption) for each in load_inkset(target)) <= shortest
    result = inktex(*arguments, "--longest", str(shortest - 1))
    assert (result.exit_code, f"at least {shortest} tokens" in result.output) == (2, True)
    assert inktex("data", "inspect", source, "--seed", "-1").exit_code == 2


def test_formulas_are_synthesized_of_ink_whose_symbols_are_known(tmp_path: Path) -> None:
    source, target = tmp_path / "a.inkset", tmp_path / "new.inkset"
    save_inkset(source, [])
    result = inktex("data", "synthesize", source, "-o", target)
    assert (result.exit_code, "found none in them" in result.output) == (2, True)
    known = expression(0)
    save_inkset(source, [replace(known, ink=((),) * len(known.caption))])
    result = inktex("data", "synthesize", source, "-o", target)
    assert (result.exit_code, "known by symbol" in result.output) == (2, True)
    result = inktex("data", "synthesize", source, "-o", tmp_path / "new.zip")
    assert (result.exit_code, "ends in .inkset" in result.output) == (2, True)
    assert not target.exists()


def test_nothing_takes_the_place_of_what_it_is_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_inkset(Path("a.inkset"), expressions(30))
    Path("a.tsv").write_text("power\tx\n")
    Path("tokens").write_text("x\n")
    Path("power.inkml").write_text(POWER)
    before = {path: path.read_bytes() for path in Path().iterdir()}
    replaced, both = "expected another file than those that are read, found", "for both"
    made = ("import", "power.inkml", "-o", "new.inkset")
    for arguments, told in (
        (("synthesize", "a.inkset", "-o", "a.inkset"), replaced),
        (("synthesize", "a.inkset", "-o", "b.inkset", "--sheet", "b.inkset"), both),
        (("synthesize", "a.inkset", "-o", "b.inkset", "--sheet", "no/b.png"), "existing folder"),
        (("vocabulary", "a.inkset", "-o", tmp_path / "a.inkset"), replaced),
        (("vocabulary", "a.inkset", "-o", "no/b.txt"), "existing folder"),
        (("inspect", "a.inkset", "--sheet", "./a.inkset"), replaced),
        (("inspect", "b.inkset", "--training", "a.inkset", "--sheet", "a.inkset"), replaced),
        (("inspect", "a.inkset", "--sheet", "no/b.png"), "existing folder"),
        ((*made, "--captions", "a.tsv", "--report", "a.tsv"), replaced),
        ((*made, "--vocabulary", "tokens", "--report", "tokens"), replaced),
        ((*made, "--report", "power.inkml"), replaced),
        ((*made, "--report", "new.inkset"), both),
    ):
        result = inktex("data", *arguments)
        assert (result.exit_code, told in result.output) == (2, True), (arguments, result.output)
        assert {path: path.read_bytes() for path in Path().iterdir()} == before
