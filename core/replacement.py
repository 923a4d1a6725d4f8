"""Files that take the place of others only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DataError


def check_writable(path: Path, option: str) -> None:
    """Raise DataError where `replacing` could not write: worth asking before much is computed.

    Args:
        option: what named the file, for the message.
    """
    path = _linked(path)
    if not path.parent.is_dir():
        raise DataError(
            f"{option}: expected a file in an existing folder, found none at {path.parent}"
        )
    if path.is_dir():
        raise DataError(f"{option}: expected a file, found the folder {path}; name a file in it")
    if _is_special(path):
        raise DataError(
            f"{option}: expected a file, found the device or pipe {path}; name a file, and copy it"
        )
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{option}: expected a folder that can be written to, found {path.parent}")


def make_folder(path: Path, option: str) -> None:
    """Make a folder, if it is not there.

    Args:
        option: what named it, for the message.

    Raises:
        DataError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{option}: expected a folder to write to, found that {path} is none that can be made "
            f"({error.strerror}); name another with {option}"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` at the end of the block, or what that is
    a link to.

    Where the block fails, as on a full disk, nothing new is left and what was there stays.

    Raises:
        DataError: the file cannot be written.
    """
    target = _linked(path)
    if _is_special(target):  # which would be a file from then on, for everybody
        raise DataError(f"{path} cannot be written (a device or a pipe); name a file, and copy it")
    partial = target.with_name(target.name + ".partial")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); make room or name another "
            "place; what was there is as it was"
        ) from error
    finally:
        with suppress(OSError):  # on a file system to read from, what is missing cannot be removed
            partial.unlink(missing_ok=True)


def _linked(path: Path) -> Path:
    """What a path is a link to, there or not; the path itself where it is none."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()
