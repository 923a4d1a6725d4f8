"""The files of a data set, wherever it lies: a folder, a zip, or one file by itself."""

from __future__ import annotations

import lzma
import os
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from ..core.errors import DataError
from ..core.preparation import MAX_BYTES
from .import_report import Skip

INK = (".inkml",)
STROKES = (".json",)
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_ZIP = b"PK\x03\x04"
_ENCRYPTED = 1  # of a zip's flags


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


def told_apart(
    found: Collection[tuple[Path, str]], named: Collection[str]
) -> dict[tuple[Path, str], str]:
    """The name of every file, by its source and its name there: with the folder that the source is
    in front, where several sources have one so called or no other folder is known.

    Args:
        found: (source, name) of every file.
        named: the folders that are spoken of: others stand in front of no name.

    >>> files = [(Path("own/anna"), "1.png"), (Path("own/ben.zip"), "1.png")]
    >>> list(told_apart(files, ("anna", "ben")).values())
    ['anna/1.png', 'ben/1.png']
    """
    folders = {path: _folder(path) for path, _ in found}
    depth = 1  # of folders, as many as it takes to tell the sources apart
    while len({parts[-depth:] for parts in folders.values()}) < len(set(folders.values())):
        depth += 1
    sources = defaultdict(set)
    for path, name in found:
        sources[place_of(name)].add(folders[path])
    told = {}
    for path, name in found:
        folder, place = folders[path][-depth:], place_of(name)
        unclear = len(sources[place]) > 1 or len(place) == 1
        front = folder if unclear and set(folder) <= set(named) else ()
        told[path, name] = "/".join((*front, name))
    return told


def _folder(path: Path) -> tuple[str, ...]:
    """The folder that a source is: itself, a zip as if it were unpacked, that of a file."""
    path = Path(os.path.abspath(path))  # not resolved: a link may be what it is called by
    if path.suffix.lower() == ".zip":
        path = path.with_suffix("")
    elif path.is_file():
        path = path.parent
    return Path(unicodedata.normalize("NFC", str(path))).parts


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
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
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
        DataError: there are none, or one is too large or cannot be read or unpacked.
    """
    for name, contents in readers(path, suffixes):
        try:
            data = contents()
        except Skip as why:
            raise DataError(f"{path}: {name}: {why}") from why
        yield name, data


def readers(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """(name, what reads its contents) of the files that `names` finds; each is to be read before
    the next is asked for.

    Raises:
        DataError: there are none; on reading, one cannot be read or unpacked.
        Skip: on reading, the file is larger than `preparation.MAX_BYTES`.
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
                yield name, partial(_unpacked, path, archive, name)
        return
    for name in found:
        yield name, partial(_loose, path, name)


def _unpacked(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    member = archive.getinfo(name)
    if member.flag_bits & _ENCRYPTED:
        raise DataError(
            f"{path}: expected a zip without a password, found {name} encrypted; unpack it, and "
            "import the folder"
        )
    _check_size(member.file_size)
    try:
        with archive.open(member) as file:
            data = file.read(MAX_BYTES + 1)
    except (*_DAMAGE, EOFError, RuntimeError, OSError) as error:
        raise DataError(
            f"{path}: {name} cannot be unpacked ({error}); fetch the archive again"
        ) from error
    _check_size(len(data))  # it may be longer than it says
    return data


def _loose(path: Path, name: str) -> bytes:
    try:
        with (path / name if path.is_dir() else path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: {name} cannot be read ({error.strerror})") from error
    _check_size(len(data))
    return data


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise Skip("the file is too large", f"expected at most {MAX_BYTES:,} bytes, found more")
