"""From the arguments of a command to the files to read: files, folders, patterns, `-`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset((".inkml", ".json", ".png", ".jpg", ".jpeg", ".webp", ".bmp"))
"""What is read from a folder; a file that is named itself may have any."""
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class SourceFile:
    """A file to read, or why there is none.

    Attributes:
        path: as the user would write it; `-` is standard input.
        problem: what is wrong, None where the file can be tried.
        data: what is in it, where that has been read.
    """

    path: str
    problem: str | None = None
    data: bytes | None = None


def find_sources(arguments: Iterable[str]) -> Iterator[SourceFile]:
    """The files that `arguments` name, in order; those of a folder or pattern sorted by name.

    A folder is searched with all below it for files with one of `SUFFIXES`; links to folders are
    not followed, and names that start with a dot are left out. An argument that is no file is
    taken as a pattern (`**` for any depth).
    """
    for argument in arguments:
        if argument == STANDARD_INPUT:
            yield SourceFile(argument)
        elif not argument:
            yield SourceFile("''", "expected the path of a file, found an empty one")
        elif os.path.isdir(argument):
            yield from _below(argument)
        elif os.path.lexists(argument) or not glob.has_magic(argument):
            yield SourceFile(argument)  # reading it says what is wrong with it
        else:
            yield from _matches(argument)


def _matches(pattern: str) -> Iterator[SourceFile]:
    found = False
    for path in sorted(glob.glob(pattern, recursive=True)):
        if not os.path.isdir(path):
            found = True
            yield _found(path)
        elif "**" not in pattern:  # which names what lies in the folder by itself
            found = True
            yield from _below(path)
    if not found:
        yield SourceFile(pattern, "expected files that match the pattern, found none")


def _found(path: str) -> SourceFile:
    """A file that was not named by itself: a pipe that nobody writes to would hold up the rest."""
    if os.path.exists(path) and not os.path.isfile(path):
        return SourceFile(path, "expected a file, found a pipe, a socket or a device; name it")
    return SourceFile(path)


def _below(folder: str) -> Iterator[SourceFile]:
    problems: list[OSError] = []
    empty = True
    for place, folders, files in os.walk(folder, onerror=problems.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                empty = False
                yield _found(os.path.join(place, name))
        while problems:
            yield _unlisted(problems.pop(), folder)
            empty = False
    for problem in problems:
        yield _unlisted(problem, folder)
        empty = False
    if empty:
        kinds = " ".join(sorted(SUFFIXES))
        yield SourceFile(folder, f"expected a folder with ink or images ({kinds}), found none")


def _unlisted(problem: OSError, folder: str) -> SourceFile:
    return SourceFile(
        str(problem.filename or folder),
        f"the folder cannot be listed ({problem.strerror}); check its permissions",
    )
