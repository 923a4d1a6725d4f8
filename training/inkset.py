"""The project's own compact form of a data set: ink, captions, and which ink belongs to which
token, in one file without pickles."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError

SUFFIX = ".inkset"
FORMAT_VERSION = 1

_DAMAGE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Expression:
    """A handwritten formula with its caption.

    Attributes:
        identifier: unique in its data set.
        writer: who wrote it, "" where nobody knows.
        caption: LaTeX tokens in the evaluation convention.
        strokes: float32 arrays [n, 2] of x and y, y down, in the recorder's units.
        ink: for every token of the caption the indices of its strokes; empty where the token
            has no ink of its own (a brace) or where nobody knows.
    """

    identifier: str
    writer: str
    caption: tuple[str, ...]
    strokes: tuple[NDArray[np.float32], ...]
    ink: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.ink) != len(self.caption):
            raise DataError(
                f"{self.identifier}: expected strokes for each of {len(self.caption)} tokens, "
                f"found {len(self.ink)}"
            )


def save_inkset(path: Path, expressions: Iterable[Expression]) -> None:
    """Write a data set; an existing file is replaced only when all is written."""
    expressions = list(expressions)
    strokes = [stroke for expression in expressions for stroke in expression.strokes]
    header = {
        "format_version": FORMAT_VERSION,
        "expressions": [
            {
                "identifier": expression.identifier,
                "writer": expression.writer,
                "caption": " ".join(expression.caption),
                "strokes": len(expression.strokes),
                "ink": expression.ink,
            }
            for expression in expressions
        ],
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.frombuffer(text.encode(), dtype=np.uint8),
            lengths=np.array([len(stroke) for stroke in strokes], dtype=np.int32),
            points=np.concatenate(strokes) if strokes else np.zeros((0, 2), np.float32),
        )
    partial.replace(path)


def load_inkset(path: Path) -> list[Expression]:
    """Read a data set.

    Raises:
        DataError: the file is missing, damaged, or of a later format version.
    """
    if not path.is_file():
        raise DataError(
            f"expected a data set at {path}, found none; make one with `inktex data import`"
        )
    try:
        # numpy itself would leave a damaged file open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            version = header["format_version"]
            if version == FORMAT_VERSION:
                ends = np.cumsum(arrays["lengths"])
                return _expressions(header, np.split(arrays["points"], ends[:-1]))
    except _DAMAGE as error:
        raise DataError(
            f"{path} is not a readable {SUFFIX} file ({error}); make it again with "
            "`inktex data import`"
        ) from error
    raise DataError(
        f"{path}: expected format version {FORMAT_VERSION}, found {version}; "
        "import the data again with this version of inktex"
    )


def _expressions(header: Any, strokes: list[NDArray[np.float32]]) -> list[Expression]:
    expressions: list[Expression] = []
    first = 0
    for entry in header["expressions"]:
        last = first + entry["strokes"]
        expressions.append(
            Expression(
                entry["identifier"],
                entry["writer"],
                tuple(entry["caption"].split()),
                tuple(strokes[first:last]),
                tuple(tuple(indices) for indices in entry["ink"]),
            )
        )
        first = last
    return expressions


def fingerprint(expressions: Iterable[Expression]) -> str:
    """A short hash of identifiers and captions: tells which data a recognizer has seen."""
    digest = sha256()
    for expression in sorted(expressions, key=lambda each: each.identifier):
        digest.update(f"{expression.identifier}\t{' '.join(expression.caption)}\n".encode())
    return digest.hexdigest()[:16]
