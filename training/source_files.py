"""The files of a data set, wherever it lies: a folder, a zip, or one file by itself."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..core.errors import DataError

INK = (".inkml",)
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def identifier_of(name: str) -> str:
    """The name of a sample: that of its file without folders and suffix.

    >>> identifier_of("train/train_1.jpg"), identifier_of("formula.1"), identifier_of("a/b.INKML")
    ('train_1', 'formula.1', 'b')
    """
    last = PurePosixPath(name.replace("\\", "/").strip()).name
    suffix = PurePosixPath(last).suffix
    return last[: -len(suffix)] if suffix.lower() in (*INK, *IMAGES) else last


def names(path: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The names of the files at `path` that end in one of `suffixes`, whatever their case, sorted.

    Names are relative to a folder or to the root of a zip. What an operating system hides in an
    archive (`__MACOSX/`, `._x.png`) is left out.

    Raises:
        DataError: there is nothing at `path`, or a damaged zip.
    """
    if path.is_dir():
        found = [each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()]
    elif zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                found = archive.namelist()
        except zipfile.BadZipFile as error:
            raise DataError(f"{path}: a damaged zip ({error}); fetch the archive again") from error
    elif path.exists():
        found = [path.name]
    else:
        raise DataError(f"expected data at {path}, found nothing; check the path")
    return sorted(
        name
        for name in found
        if name.lower().endswith(suffixes)
        and not any(part.startswith(("._", "__MACOSX")) for part in PurePosixPath(name).parts)
    )


def files(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of the files that `names` finds.

    Raises:
        DataError: there are none, or one cannot be read or unpacked.
    """
    found = names(path, suffixes)
    if not found:
        raise DataError(
            f"expected a .zip or folder of {' '.join(suffixes)} files, or one such file, at "
            f"{path}, found none; unpack other archives first"
        )
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in found:
                try:
                    data = archive.read(name)
                except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                    raise DataError(
                        f"{path}: {name} cannot be unpacked ({error}); fetch the archive again"
                    ) from error
                yield name, data
        return
    for name in found:
        try:
            data = (path / name if path.is_dir() else path).read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {name} cannot be read ({error.strerror})") from error
        yield name, data
