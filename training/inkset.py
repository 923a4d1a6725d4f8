"""The project's own compact form of a data set: ink or images, captions, and which ink belongs to
which token, in one file without pickles."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.rendering import DEFAULT_RENDERING, Rendering
from ..core.replacement import replacing

SUFFIX = ".inkset"
FORMAT_VERSION = 3
"""Version 1 had no images, version 2 had them at the scale of one recognizer; all are read."""

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
    """A handwritten formula with its caption: ink, or else an image.

    Attributes:
        identifier: unique in its data set.
        writer: who wrote it, "" where nobody knows.
        caption: LaTeX tokens in the evaluation convention; none where it is not labelled.
        strokes: float32 arrays [n, 2] of x and y, y down, in the recorder's units.
        ink: for every token of the caption the indices of its strokes; empty where the token
            has no ink of its own (a brace) or where nobody knows.
        image: uint8 [h, w], ink 255 on 0, as `rendering.normalize_image` gives it; None where
            there are strokes.
        rendering: scale and pen of the image.

    Raises:
        DataError: `ink` is not of the caption's length, or there are strokes and an image, or the
            image is of another type or shape.
    """

    identifier: str
    writer: str
    caption: tuple[str, ...]
    strokes: tuple[NDArray[np.float32], ...]
    ink: tuple[tuple[int, ...], ...]
    image: NDArray[np.uint8] | None = None
    rendering: Rendering = DEFAULT_RENDERING

    def __post_init__(self) -> None:
        if len(self.ink) != len(self.caption):
            raise DataError(
                f"{self.identifier}: expected strokes for each of {len(self.caption)} tokens, "
                f"found {len(self.ink)}"
            )
        if self.image is None:
            return
        if self.strokes:
            raise DataError(
                f"{self.identifier}: expected strokes or an image, found {len(self.strokes)} "
                "strokes and an image; leave one of them out"
            )
        if self.image.dtype != np.uint8 or self.image.ndim != 2 or not self.image.size:
            raise DataError(
                f"{self.identifier}: expected an image uint8 [h, w], found {self.image.dtype} "
                f"{list(self.image.shape)}"
            )

    @property
    def source(self) -> list[NDArray[np.float64]] | NDArray[np.uint8]:
        """What a recognizer takes: the strokes, or the image."""
        if self.image is not None:
            return self.image
        return [stroke.astype(np.float64) for stroke in self.strokes]


def save_inkset(path: Path, expressions: Iterable[Expression]) -> None:
    """Write a data set; an existing file is replaced only when all is written.

    Raises:
        DataError: two expressions have the same identifier, or the file cannot be written.
    """
    expressions = list(expressions)
    names = Counter(expression.identifier for expression in expressions)
    if len(names) < len(expressions):
        twice = next(name for name, count in names.items() if count > 1)
        raise DataError(f"{path}: expected every identifier once, found {twice!r} more than once")
    strokes = [stroke for expression in expressions for stroke in expression.strokes]
    images = [expression.image for expression in expressions if expression.image is not None]
    header = {
        "format_version": FORMAT_VERSION,
        "expressions": [_entry(expression) for expression in expressions],
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.frombuffer(text.encode(), dtype=np.uint8),
            lengths=np.array([len(stroke) for stroke in strokes], dtype=np.int32),
            points=np.concatenate(strokes) if strokes else np.zeros((0, 2), np.float32),
            sizes=np.array([image.shape for image in images], np.int32).reshape(-1, 2),
            pixels=_joined(images),
        )


def _entry(expression: Expression) -> dict[str, Any]:
    return {
        "identifier": expression.identifier,
        "writer": expression.writer,
        "caption": " ".join(expression.caption),
        "strokes": len(expression.strokes),
        "ink": expression.ink,
        "image": None
        if expression.image is None
        else [expression.rendering.symbol_px, expression.rendering.pen_px],
    }


def _joined(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """uint8 [n], the pixels of all images, row by row"""
    return np.concatenate([np.zeros(0, np.uint8), *(image.ravel() for image in images)])


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
            if version in range(1, FORMAT_VERSION + 1):
                return _expressions(header["expressions"], arrays)
    except _DAMAGE as error:
        raise DataError(
            f"{path} is not a readable {SUFFIX} file ({error}); make it again with "
            "`inktex data import`"
        ) from error
    raise DataError(
        f"{path}: expected a format version up to {FORMAT_VERSION}, found {version}; "
        "import the data again with this version of inktex"
    )


def _expressions(entries: Sequence[Any], arrays: Mapping[str, NDArray[Any]]) -> list[Expression]:
    strokes = np.split(arrays["points"], np.cumsum(arrays["lengths"])[:-1])
    images = iter(_images(arrays)) if "pixels" in arrays else iter(())
    expressions: list[Expression] = []
    first = 0
    for entry in entries:
        last = first + entry["strokes"]
        drawn = entry.get("image")  # version 2: whether there is one
        rendering = Rendering(*drawn) if isinstance(drawn, list) else DEFAULT_RENDERING
        expressions.append(
            Expression(
                entry["identifier"],
                entry["writer"],
                tuple(entry["caption"].split()),
                tuple(strokes[first:last]),
                tuple(tuple(indices) for indices in entry["ink"]),
                next(images) if drawn else None,
                rendering,
            )
        )
        first = last
    return expressions


def _images(arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[np.uint8]]:
    sizes = arrays["sizes"].astype(np.int64)
    parts = np.split(arrays["pixels"], np.cumsum(sizes.prod(axis=1))[:-1])
    return [part.reshape(size) for part, size in zip(parts, sizes.tolist(), strict=False)]


def fingerprint(expressions: Iterable[Expression]) -> str:
    """A short hash of identifiers, captions and images: tells which data a recognizer has seen.

    Ink is not in it: what was told of earlier data sets stays true.
    """
    digest = sha256()
    for expression in sorted(expressions, key=lambda each: each.identifier):
        digest.update(f"{expression.identifier}\t{' '.join(expression.caption)}\n".encode())
        if expression.image is not None:
            digest.update(repr(expression.image.shape).encode())
            digest.update(expression.image.tobytes())
    return digest.hexdigest()[:16]
