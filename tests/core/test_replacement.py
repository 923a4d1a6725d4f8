from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from inktex.core.errors import DataError
from inktex.core.replacement import check_writable, replacing


def test_a_file_is_replaced_when_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path, file = tmp_path / "link", tmp_path / "elsewhere" / "file"
    path.symlink_to(file)
    for text in ("first", "second"):  # it need not be there
        check_writable(path, "-o")
        with replacing(path) as partial:
            partial.write_text(text)
        assert path.is_symlink()
        assert file.read_text() == text
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(DataError, match="--report: expected a file, found the device or pipe"):
            check_writable(path, "--report")
        with pytest.raises(DataError, match="a device or a pipe"), replacing(path) as partial:
            partial.write_text("x")
    assert pipe.is_fifo()


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half(partial: Path) -> None:
        partial.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(DataError, match=r"cannot be written \(No space left on device\); make"),
        replacing(path) as partial,
    ):
        write_half(partial)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_removed_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", fail)
    monkeypatch.setattr(Path, "unlink", fail)  # so it does even where there is nothing
    with (
        pytest.raises(DataError, match=r"cannot be written \(Read-only file system\)"),
        replacing(tmp_path / "file") as partial,
    ):
        partial.write_text("x")


def test_another_error_is_passed_on_and_leaves_nothing_either(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        partial.write_text("ne")
        raise KeyError("x")

    with pytest.raises(KeyError), replacing(tmp_path / "file") as partial:
        fail(partial)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_data_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="cannot be written"),
        replacing(tmp_path / "none" / "file") as partial,
    ):
        partial.write_text("x")
