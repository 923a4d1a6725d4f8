"""Importing InkML with MathML trees, as CROHME distributes it, into an ink set."""

from __future__ import annotations

import csv
import difflib
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from ..core.errors import DataError, InktexError
from ..core.ink import Ink, read_ink
from ..core.latex import normalize, tokenize
from ..core.mathml import latex_tokens
from ..core.progress import Progress
from .inkset import Expression

_INKLESS = frozenset(["{", "}", "^", "_", "\\limits"])


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        imported: expressions taken.
        skipped: file name -> why it was not taken.
        agreeing, compared: captions made from the tree that equal the caption given for them.
        tokens_with_ink, inked_tokens: of the tokens that ink can be known for, how many have it.
        disagreements: (identifier, caption given, caption from the tree), the first hundred.
    """

    imported: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    agreeing: int = 0
    compared: int = 0
    tokens_with_ink: int = 0
    inked_tokens: int = 0
    disagreements: list[tuple[str, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.imported} expressions imported, {len(self.skipped)} skipped",
            f"ink known for {self.tokens_with_ink} of {self.inked_tokens} symbol tokens",
        ]
        if self.compared:
            lines.append(
                f"{self.agreeing} of {self.compared} captions equal those made from the layout tree"
            )
        reasons = Counter(reason.partition(": ")[2] or reason for reason in self.skipped.values())
        lines += [f"skipped {count}: {reason}" for reason, count in reasons.most_common(10)]
        return "\n".join(lines)


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Captions by identifier, from lines `IDENTIFIER <tab> TOKENS` with tokens between spaces.

    Raises:
        DataError: a line is of another form, or the file is no text.
    """
    captions: dict[str, tuple[str, ...]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected text in UTF-8, found another thing ({error})") from error
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise DataError(
                f"{path}:{number}: expected an identifier, a tab and a caption, found {row!r}"
            )
        captions[PurePosixPath(row[0]).stem] = tuple(row[1].split())
    return captions


def ink_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of every InkML file in a zip, a folder or by itself, in order of name.

    Raises:
        DataError: there is no InkML at `path`, or the zip is damaged.
    """
    found = 0
    if path.is_dir():
        for each in sorted(path.rglob("*.inkml")):
            found += 1
            yield str(each.relative_to(path)), each.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".inkml"):
                    found += 1
                    try:
                        data = archive.read(name)
                    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                        raise DataError(
                            f"{path}: {name} cannot be unpacked ({error}); fetch the archive again"
                        ) from error
                    yield name, data
    elif path.suffix == ".inkml" and path.is_file():
        found = 1
        yield path.name, path.read_bytes()
    if not found:
        raise DataError(
            f"expected a .zip or folder of .inkml files, or one such file, at {path}, found none"
        )


def count_ink_files(paths: Sequence[Path]) -> int:
    """How many files `import_inkml` will read."""
    count = 0
    for path in paths:
        if path.is_dir():
            count += sum(1 for _ in path.rglob("*.inkml"))
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                count += sum(name.endswith(".inkml") for name in archive.namelist())
        else:
            count += 1
    return count


def import_inkml(
    paths: Sequence[Path],
    captions: dict[str, tuple[str, ...]] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Expression], ImportReport]:
    """Read all InkML files under `paths`.

    Args:
        captions: by identifier; they win over the captions in the files, and files without one
            are skipped. Without them the captions come from the layout tree, or, where a file
            has none, from its annotated LaTeX.
        progress: told of every file.

    Returns:
        The expressions and a report of what was skipped and why.
    """
    report = ImportReport()
    expressions: list[Expression] = []
    seen: set[str] = set()
    for path in paths:
        for name, data in ink_files(path):
            if progress is not None:
                progress.advance()
            identifier = PurePosixPath(name).stem
            try:
                if identifier in seen:
                    raise DataError("an expression of this name was imported already")
                expression = _expression(identifier, read_ink(data, name), captions, report)
            except InktexError as error:
                report.skipped[name] = str(error)
                continue
            seen.add(identifier)
            expressions.append(expression)
    report.imported = len(expressions)
    return expressions, report


def _expression(
    identifier: str,
    ink: Ink,
    captions: dict[str, tuple[str, ...]] | None,
    report: ImportReport,
) -> Expression:
    from_tree = latex_tokens(ink.tree) if ink.tree is not None else []
    made = tuple(token for token, _ in from_tree)
    if captions is not None:
        if identifier not in captions:
            raise DataError("there is no caption of this name")
        caption = captions[identifier]
        if made:
            report.compared += 1
            report.agreeing += made == caption
            if made != caption and len(report.disagreements) < 100:
                report.disagreements.append((identifier, " ".join(caption), " ".join(made)))
    elif made:
        caption = made
    elif ink.truth:
        caption = tuple(normalize(tokenize(ink.truth)))
    else:
        raise DataError("there is neither a layout tree nor annotated LaTeX")
    if not caption:
        raise DataError("the caption is empty")
    known = {symbol.node: symbol.strokes for symbol in ink.symbols if symbol.node}
    # a token annotated in parts, three dots for `\cdots`, names them all, between spaces
    made_of = [
        (token, tuple(i for part in (node or "").split() for i in known.get(part, ())))
        for token, node in from_tree
    ]
    strokes = _aligned(caption, made_of)
    inked = [token not in _INKLESS for token in caption]
    report.inked_tokens += sum(inked)
    report.tokens_with_ink += sum(map(bool, strokes))
    return Expression(
        identifier,
        ink.writer,
        caption,
        tuple(stroke.astype(np.float32) for stroke in ink.strokes),
        strokes,
    )


def _aligned(
    caption: Sequence[str], made: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[tuple[int, ...], ...]:
    """The strokes of every token of a caption, from those of a caption that may differ a little.

    Tokens that agree, and those replaced one for one (`\\cdot` for `.`), keep their strokes.
    """
    strokes: list[tuple[int, ...]] = [()] * len(caption)
    places = [place for place, token in enumerate(caption) if token not in _INKLESS]
    sources = [(token, indices) for token, indices in made if token not in _INKLESS]
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
