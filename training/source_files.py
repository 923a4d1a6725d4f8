"""The files of a data set, wherever it lies: a folder, a zip, or one file by itself."""

from __future__ import annotations

import lzma
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from ..core.errors import DataError

INK = (".inkml",)
STROKES = (".json",)
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_ZIP = b"PK\x03\x04"


def place_of(name: str) -> tuple[str, ...]:
    """The folders and the name of a file without its suffix, in one spelling of what Unicode
    writes in two ways, as macOS does.

    >>> place_of("train/train_1.jpg"), place_of("formula.1"), place_of("./a\\\\b.INKML")
    (('train', 'train_1'), ('formula.1',), ('a', 'b'))
    """
    spelt = unicodedata.normalize("NFC", name.replace("\\", "/").strip())
    parts = [part for part in PurePosixPath(spelt).parts if part not in ("/", "..")] or [""]
    suffix = PurePosixPath(parts[-1]).suffix
    if suffix.lower() in (*INK, *STROKES, *IMAGES):
        parts[-1] = parts[-1][: -len(suffix)]
    return tuple(parts)


def identifier_of(name: str) -> str:
    """The name of a sample: that of its file without folders and suffix.

    >>> identifier_of("train/train_1.jpg"), identifier_of("formula.1"), identifier_of("a/b.INKML")
    ('train_1', 'formula.1', 'b')
    """
    return place_of(name)[-1]


def identifiers(places: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The name of every sample, by the place of its file; with its folders where files of several
    folders are called alike.

    >>> identifiers([("a", "1"), ("b", "1"), ("b", "2")])
    {('a', '1'): 'a/1', ('b', '1'): 'b/1', ('b', '2'): '2'}
    """
    count = Counter(place[-1] for place in set(places))
    return {place: place[-1] if count[place[-1]] == 1 else "/".join(place) for place in places}


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
        if _begins_as_zip(path):
            raise DataError(f"{path}: a zip whose end is missing; fetch the archive again")
        found = [path.name]
    else:
        raise DataError(f"expected data at {path}, found nothing; check the path")
    return sorted(
        name
        for name in found
        if name.lower().endswith(suffixes)
        and not any(part.startswith(("._", "__MACOSX")) for part in PurePosixPath(name).parts)
    )


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_ZIP)) == _ZIP
    except OSError:
        return False  # whoever reads it says why


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
                except (*_DAMAGE, EOFError, RuntimeError, OSError) as error:
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
