"""Files that take the place of others only when they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` at the end of the block.

    Where the block fails, as on a full disk, nothing new is left and what was there stays.

    Raises:
        DataError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); make room or name another "
            "place; what was there is as it was"
        ) from error
    finally:
        with suppress(OSError):  # on a file system to read from, what is missing cannot be removed
            partial.unlink(missing_ok=True)
