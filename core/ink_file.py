"""Ink from a file of either form, InkML or JSON."""

from __future__ import annotations

from .errors import InputError
from .ink import Ink
from .ink_json import read_ink_json

MAX_BYTES = 8 * 2**20
"""Ink files above this size are refused: a page of dense handwriting is below 1 MiB."""


def first_sign(data: bytes) -> bytes:
    """The first sign of a text in UTF-8 or UTF-16 that is no blank, as one byte; b"" of none."""
    return data[:256].removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe\0 \t\r\n")[:1]


def read_ink(data: bytes, name: str = "") -> Ink:
    """Ink from a file's content, as InkML or as JSON, told apart by content.

    Args:
        data: InkML, see `core/inkml.py`, or JSON, see `core/ink_json.py`.
        name: what errors call it and where `Ink.identifier` comes from.

    Raises:
        InputError: a file that is empty, larger than `MAX_BYTES`, damaged, of another format, or
            without a stroke.
    """
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
