from __future__ import annotations

import os
from pathlib import Path

import pytest

from inktex.runtimes.sources import find_sources


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `notes`, seen from its parent."""
    for name in (
        "b.inkml", "a.PNG", "c.json", "readme.txt", ".hidden.png",
        "deep/er/z.webp", "deep/y.jpg", "deep/y.jpeg", "deep/y.bmp", ".git/x.png",
    ):  # fmt: skip
        file = tmp_path / "notes" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "notes" / "loop").symlink_to(tmp_path / "notes")
    (tmp_path / "none").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "notes"


def paths(*arguments: str) -> list[str]:
    found = list(find_sources(arguments))
    assert not [each.problem for each in found if each.problem]
    return [each.path.replace(os.sep, "/") for each in found]


def test_a_folder_with_all_below_it_in_order(notes: Path) -> None:
    assert paths("notes") == [
        "notes/a.PNG",
        "notes/b.inkml",
        "notes/c.json",
        "notes/deep/y.bmp",
        "notes/deep/y.jpeg",
        "notes/deep/y.jpg",
        "notes/deep/er/z.webp",
    ]


def test_a_file_that_is_named_may_be_called_anything(notes: Path) -> None:
    assert paths("notes/readme.txt", "nowhere", "-") == ["notes/readme.txt", "nowhere", "-"]


def test_patterns(notes: Path) -> None:
    assert paths("notes/*.inkml") == ["notes/b.inkml"]
    assert paths("notes/deep/**/*.webp") == ["notes/deep/er/z.webp"]
    assert paths("note[s]") == paths("notes")
    assert paths("notes/deep/**") == [
        "notes/deep/er/z.webp",
        "notes/deep/y.bmp",
        "notes/deep/y.jpeg",
        "notes/deep/y.jpg",
    ]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(notes: Path) -> None:
    (notes / "x[1].png").touch()
    assert paths("notes/x[1].png") == ["notes/x[1].png"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("notes/*.tiff", "match the pattern, found none"),
        ("non[e]/**/", "match the pattern, found none"),
        ("none", "a folder with ink or images"),
        ("", "found an empty one"),
    ],
)
def test_nothing_to_read_is_a_problem(notes: Path, argument: str, said: str) -> None:
    [found] = find_sources([argument])
    assert found.path == (argument or "''")
    assert said in (found.problem or "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read_where_it_is_named_and_holds_up_no_folder(notes: Path) -> None:
    os.mkfifo(notes / "pipe.png")
    os.symlink("nowhere", notes / "link.png")
    for argument in ("notes", "notes/*.png"):
        told = {Path(each.path).name: each.problem for each in find_sources([argument])}
        assert "found a pipe" in (told.pop("pipe.png") or "")
        assert "link.png" in told
        assert not any(told.values())
    assert [each.problem for each in find_sources(["notes/pipe.png"])] == [None]


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root lists any folder")
def test_a_folder_without_permission_is_a_problem_and_the_rest_is_read(notes: Path) -> None:
    (notes / "deep").chmod(0)
    try:
        found = list(find_sources(["notes"]))
    finally:
        (notes / "deep").chmod(0o755)
    assert [each.path for each in found if each.problem is None] == [
        "notes/a.PNG", "notes/b.inkml", "notes/c.json",
    ]  # fmt: skip
    [problem] = [each for each in found if each.problem]
    assert problem.path == "notes/deep"
    assert "cannot be listed (Permission denied)" in (problem.problem or "")


def test_a_folder_that_cannot_be_listed_is_a_problem(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, for those who run tests as root."""
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = list(find_sources(["notes"]))
    assert [each.path for each in found if each.problem] == ["notes/deep"]
    assert len(found) == 4
