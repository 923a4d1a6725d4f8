"""Ink with captions: InkML, as CROHME and MathWriting distribute it, or JSON strokes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.ink import FloatArray, Ink
from ..core.ink_file import read_ink
from ..core.latex_tables import PLACING
from ..core.mathml import latex_tokens
from .captions import caption_tokens
from .import_report import ImportReport, Skip, check_text
from .import_settings import ImportSettings
from .inkset import Expression

_ROUNDED = 1e-3  # share of a formula's extent by which its points may be moved


def ink_expression(
    identifier: str, name: str, data: bytes, settings: ImportSettings, report: ImportReport
) -> Expression:
    """The expression of one file of InkML or JSON.

    Args:
        name, data: of the file.
        report: counts splits, captions that were spelt otherwise, and tokens whose ink is known.

    Raises:
        Skip: the file cannot be taken.
    """
    ink = _read(name, data)
    if settings.splits and ink.split not in settings.splits:
        raise Skip("it is of another split", ink.split)
    check_text(ink.writer, "the name of the writer")
    caption: tuple[str, ...] = ()
    strokes: tuple[tuple[int, ...], ...] = ()
    if settings.labelled:
        caption, strokes = _caption(identifier, ink, settings, report)
    if ink.split:
        report.splits[ink.split] += 1
    return Expression(
        identifier,
        ink.writer,
        caption,
        _compact(ink.strokes),
        strokes,
    )


def _compact(strokes: Sequence[FloatArray]) -> tuple[NDArray[np.float32], ...]:
    """The strokes in half of the memory; from their own corner where they lie so far from the
    recorder's that their points would fall together."""
    points = np.concatenate(strokes)
    far = np.abs(points).max() * np.finfo(np.float32).eps > _ROUNDED * np.ptp(points, axis=0).max()
    corner = points.min(axis=0) if far else np.zeros(2)
    return tuple((stroke - corner).astype(np.float32) for stroke in strokes)


def _read(name: str, data: bytes) -> Ink:
    try:
        return read_ink(data, name)
    except InputError as error:
        raise Skip("the ink cannot be read", str(error).removeprefix(f"{name}: ")) from error


def _caption(
    identifier: str, ink: Ink, settings: ImportSettings, report: ImportReport
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The caption, and the strokes of each of its tokens."""
    from_tree = _tree_tokens(ink, bool(settings.captions or ink.truth))
    made = " ".join(token for token, _ in from_tree)
    given = settings.captions is not None
    text = settings.captions.text(identifier) if settings.captions else made or ink.truth
    if text is None:
        raise Skip(
            "there is neither a layout tree nor annotated LaTeX",
            'expected an annotation of type "truth" in InkML, or "latex" in JSON',
        )
    caption = caption_tokens(text, settings.vocabulary)
    report.count_caption(text, caption)
    if given and made:
        report.compare(identifier, " ".join(caption), made)
    elif made and (annotated := _readable(ink.truth)):
        report.compare(identifier, " ".join(annotated), " ".join(caption))
    report.from_tree += bool(made and not given)
    known = {symbol.node: symbol.strokes for symbol in ink.symbols if symbol.node}
    # a token annotated in parts, three dots for `\cdots`, names them all, between spaces
    made_of = [
        (token, tuple(i for part in (node or "").split() for i in known.get(part, ())))
        for token, node in from_tree
    ]
    strokes = _aligned(caption, made_of)
    report.inked_tokens += sum(token not in PLACING for token in caption)
    report.tokens_with_ink += sum(map(bool, strokes))
    return caption, strokes


def _readable(truth: str | None) -> tuple[str, ...]:
    """Annotated LaTeX in the convention; nothing where there is none that could be said so."""
    try:
        return caption_tokens(truth or "")
    except Skip:
        return ()


def _tree_tokens(ink: Ink, captioned: bool) -> list[tuple[str, str | None]]:
    """(token, xml ids of its parts) as the layout tree says; nothing without a tree, or where it
    cannot be read and the caption is told elsewhere."""
    if ink.tree is None:
        return []
    try:
        return latex_tokens(ink.tree)
    except InputError as error:
        if captioned:
            return []
        raise Skip("the layout tree cannot be read", str(error)) from error


def _aligned(
    caption: Sequence[str], made: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[tuple[int, ...], ...]:
    """The strokes of every token of a caption, from those of a caption that may differ a little.

    Tokens that agree, and those replaced one for one (`\\cdot` for `.`), keep their strokes.
    """
    strokes: list[tuple[int, ...]] = [()] * len(caption)
    places = [place for place, token in enumerate(caption) if token not in PLACING]
    sources = [(token, indices) for token, indices in made if token not in PLACING]
    matcher = difflib.SequenceMatcher(
        None, [caption[place] for place in places], [token for token, _ in sources], autojunk=False
    )
    for kind, first, last, other_first, other_last in matcher.get_opcodes():
        if kind == "equal" or (kind == "replace" and last - first == other_last - other_first):
            for place, (_, indices) in zip(
                places[first:last], sources[other_first:other_last], strict=True
            ):
                strokes[place] = indices
    return tuple(strokes)
