"""The ink that a profile is taken on, and how large it comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from ...core.errors import DataError, InktexError, InputError
from ...core.ink import Ink
from ...core.ink_file import read_ink
from ...core.latex import normalize, tokenize
from ...core.manifest import Preprocessing
from ...core.preparation import prepare_image
from ..formulas import Formula, load_formulas

OWN = Path(__file__).parent.parent / "data" / "ink.zip"
"""The ink that comes with inktex: the 18 formulas of `examples/`, drawn for this project. The
recognizer was watched while they were drawn, so that they tell how fast it is, not how good."""
OWN_NAME = "inktex's own ink"
_INK = (".inkml", ".json")


@dataclass(frozen=True)
class DataSet:
    """Formulas that can be read.

    Attributes:
        source: where they are from, to read.
        areas: pixels of each, as the recognizer sees it.
        skipped: how many could not be read, and are not among them.
        fingerprint: of names, contents and captions: numbers are comparable where it is the same.
    """

    source: str
    formulas: tuple[Formula, ...]
    areas: tuple[int, ...]
    skipped: int
    fingerprint: str

    @property
    def captioned(self) -> bool:
        """Whether it is known what every formula is."""
        return all(each.caption is not None for each in self.formulas)


def load_data(data: Path | None, limit: int | None, preprocessing: Preprocessing) -> DataSet:
    """Formulas of `data`, as `load_formulas` takes it, or of inktex's own ink.

    Raises:
        DataError: there are none, or not one that can be read.
    """
    if data is None and not OWN.is_file():
        raise DataError(
            f"expected the ink that comes with inktex at {OWN}, found none; install inktex again, "
            "or give ink of your own with --data"
        )
    formulas, areas = [], []
    found = load_formulas(data or OWN, limit)
    for formula in found:
        try:
            image = prepare_image(formula.source, preprocessing, formula.name)
        except InputError:
            continue
        formulas.append(_captioned(formula))
        areas.append(image.shape[2] * image.shape[3])
    if not formulas:
        raise DataError("expected formulas that can be read, found none; see `inktex recognize`")
    return DataSet(
        str(data) if data else OWN_NAME,
        tuple(formulas),
        tuple(areas),
        len(found) - len(formulas),
        fingerprint(formulas),
    )


def fingerprint(formulas: Sequence[Formula]) -> str:
    """A short hash of all that is read, in this order."""
    digest = sha256()
    for formula in formulas:
        digest.update(f"{formula.name}\t{' '.join(formula.caption or ())}\n".encode())
        if isinstance(formula.source, bytes):
            digest.update(formula.source)
        else:
            for stroke in formula.source:
                digest.update(np.asarray(stroke, np.float32).tobytes())
    return digest.hexdigest()[:16]


def ink_of(formula: Formula) -> Ink | None:
    """Its strokes, None where it is an image.

    Raises:
        InputError: a file of ink that cannot be read.
    """
    if not isinstance(formula.source, bytes):
        return Ink(tuple(np.asarray(stroke, np.float64) for stroke in formula.source))
    if formula.name.lower().endswith(_INK):
        return read_ink(formula.source, formula.name)
    return None


def _captioned(formula: Formula) -> Formula:
    """With the caption that its file holds, where nobody gave one."""
    if formula.caption is not None:
        return formula
    try:
        ink = ink_of(formula)
        if ink is None or ink.truth is None:
            return formula
        return replace(formula, caption=tuple(normalize(tokenize(ink.truth))))
    except InktexError:  # a caption that is no formula: read, and not scored
        return formula
