from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from inktex.core.errors import DataError
from inktex.training.source_files import IMAGES, INK, files, identifier_of, names, told_apart


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("train_1.jpg", "train_1"),
        ("a/b\\c.PNG", "c"),
        ("formula.1", "formula.1"),
        ("formula.1.png", "formula.1"),
        (" x.inkml ", "x"),
        ("18_em_0", "18_em_0"),
        ("gro\u0308\u00dfe 1.png", "gr\u00f6\u00dfe 1"),  # macOS writes two characters for one
    ],
)
def test_a_sample_is_called_as_its_file_without_folder_and_suffix(
    name: str, identifier: str
) -> None:
    assert identifier_of(name) == identifier


def test_files_are_found_in_zips_folders_and_by_themselves_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("b.inkml", "a.INKML", "deep/c.inkml", "deep/._c.inkml", "x.png", "read.me"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "folder.inkml").mkdir()
    wanted = ["a.INKML", "b.inkml", "deep/c.inkml"]
    assert names(folder, INK) == wanted
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in (*reversed(wanted), "__MACOSX/deep/._c.inkml", "x.png"):
            file.writestr(name, name)
    assert list(files(archive, INK)) == [(name, name.encode()) for name in wanted]
    assert list(files(folder, INK)) == list(files(archive, INK))
    assert list(files(folder / "b.inkml", INK)) == [("b.inkml", b"b.inkml")]
    assert names(archive, IMAGES) == ["x.png"]
    assert names(folder / "read.me", INK) == []


def test_where_there_is_nothing_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for path in (tmp_path, tmp_path / "text.txt", tmp_path / "empty.zip"):
        with pytest.raises(DataError, match=r"expected a \.zip or folder of \.inkml files"):
            list(files(path, INK))
    with pytest.raises(DataError, match="found nothing; check the path"):
        names(tmp_path / "nothing", INK)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_of_any_kind_may_be_damaged(tmp_path: Path, method: int) -> None:
    archive = tmp_path / "ink.zip"
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr("a.inkml", bytes(range(256)) * 20)
    data = bytearray(archive.read_bytes())
    data[50:90] = bytes(40)
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"ink\.zip: a\.inkml cannot be unpacked"):
        list(files(archive, INK))


def test_a_damaged_zip_says_which_file(tmp_path: Path) -> None:
    archive = tmp_path / "ink.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.inkml", "<ink>" * 100)
    data = bytearray(archive.read_bytes())
    data[38:48] = bytes(10)
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"ink\.zip: a\.inkml cannot be unpacked"):
        list(files(archive, INK))
    archive.write_bytes(data[:60])
    with pytest.raises(DataError, match=r"ink\.zip: a zip whose end is missing"):
        names(archive, INK)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, loose = tmp_path / "ink.zip", tmp_path / "a.inkml"
    loose.write_bytes(bytes(11))
    with zipfile.ZipFile(archive, "w") as file:
        file.write(loose, "a.inkml")
    monkeypatch.setattr("inktex.training.source_files.MAX_BYTES", 11)
    for path in (archive, loose):
        assert list(files(path, INK)) == [("a.inkml", bytes(11))]
    monkeypatch.setattr("inktex.training.source_files.MAX_BYTES", 10)
    for path in (archive, loose, tmp_path):
        with pytest.raises(DataError, match=r"a\.inkml: the file is too large: .* most 10 bytes"):
            list(files(path, INK))


def test_an_encrypted_zip_says_that_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "ink.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.inkml", "<ink/>")
    data = bytearray(archive.read_bytes())
    for start in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[start] |= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"without a password, found a\.inkml encrypted; unpack it"):
        list(files(archive, INK))


def test_sources_are_told_apart_by_as_many_folders_as_it_takes() -> None:
    files = [(Path("own/anna"), "1.png"), (Path("old/anna.zip"), "1.png"), (Path("new"), "a/1.png")]
    assert list(told_apart(files, ("own", "old", "anna")).values()) == [
        "own/anna/1.png",
        "old/anna/1.png",
        "a/1.png",
    ]
    assert list(told_apart(files, ("anna",)).values()) == ["1.png", "1.png", "a/1.png"]
