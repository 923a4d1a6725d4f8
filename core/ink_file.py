"""Ink from a file of either form, InkML or JSON."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .ink import Ink
from .ink_json import read_ink_json

MAX_BYTES = 8 * 2**20
"""Ink files above this size are refused: a page of dense handwriting is below 1 MiB."""


def first_sign(data: bytes) -> bytes:
    """The first sign of a text in UTF-8 or UTF-16 that is no blank, as one byte; b"" of none."""
    return data[:256].removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe\0 \t\r\n")[:1]


def read_ink(source: Path | bytes | str, name: str = "") -> Ink:
    """Ink from a file, or from a file's content, as InkML or as JSON, told apart by content.

    Args:
        source: a path, or the bytes of a file. InkML: see `core/inkml.py`. JSON: see
            `core/ink_json.py`.
        name: what errors call it and where `Ink.identifier` comes from; by default the file's
            name.

    Raises:
        InputError: a file that is missing, empty, larger than `MAX_BYTES`, damaged, of another
            format, or without a stroke.
    """
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        name = name or path.name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{str(source)!r}: expected an ink file that can be read: {reason}"
            ) from None
    called = f"{name}: " if name else ""
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{called}expected an ink file of at most {MAX_BYTES} bytes, found more: "
            "it holds more than one expression, or something else"
        )
    start = first_sign(data)
    if start == b"<":
        from .inkml import read_inkml  # a parser of XML, which images and JSON do without

        return read_inkml(data, name)
    if start in (b"{", b"["):
        return read_ink_json(data, name)
    found = repr(data[:16])[1:] if data else "nothing: the file is empty"
    raise InputError(f"{called}expected InkML (<ink …>) or JSON strokes, found {found}")
