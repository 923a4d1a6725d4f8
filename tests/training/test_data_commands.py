from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from inktex.training.inkset import load_inkset, save_inkset

from .command_line import inktex
from .test_crohme import POWER, inkml


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
    assert set(skipped) == {"b/broken.inkml", "b/power.inkml"}
    seen = inktex("data", "inspect", target).output
    assert seen.startswith("2 expressions, fingerprint ")
    assert "2 distinct captions" in seen
    assert "1 writers named, 1 unnamed" in seen


def test_captions_given_win(tmp_path: Path) -> None:
    (tmp_path / "power.inkml").write_text(POWER)
    (tmp_path / "captions.tsv").write_text("power\tX ^ { 2 } =\n")
    arguments = ("data", "import", tmp_path, "-o", tmp_path / "made.inkset", "--captions")
    result = inktex(*arguments, tmp_path / "captions.tsv")
    assert result.exit_code == 0, result.output
    assert "0 of 1 captions equal" in result.output
    [made] = load_inkset(tmp_path / "made.inkset")
    assert made.caption == ("X", "^", "{", "2", "}", "=")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing.zip", "-o", "made.inkset"], "expected data at nothing.zip, found nothing"),
        (["ink", "-o", "made.txt"], "expected a name that ends in .inkset"),
        (["ink", "-o", "deep/made.inkset"], "expected an existing folder"),
        (["ink", "-o", "made.inkset", "--captions", "none.tsv"], "found nothing"),
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
    result = inktex("data", "import", *arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert not Path("made.inkset").exists()


def test_what_cannot_be_inspected_says_why(tmp_path: Path) -> None:
    save_inkset(tmp_path / "none.inkset", [])
    for name, told in (("none.inkset", "holds no expression"), ("lost.inkset", "found none")):
        result = inktex("data", "inspect", tmp_path / name)
        assert result.exit_code == 2
        assert told in result.output
