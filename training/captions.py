"""Captions: from the tables that data sets are distributed with, to tokens of the convention."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..core.errors import DataError, InputError, VocabularyError
from ..core.grammar import GrammarConstraint
from ..core.latex import normalize, tokenize, trimmed
from ..core.latex_tables import is_known
from ..core.vocabulary import Vocabulary
from .import_report import Skip
from .inkset import Expression
from .source_files import IMAGES, INK, identifiers, place_of

# What the columns are called in the headers of tables that are about.
_FILE_COLUMNS = (
    *("image", "filename", "file_name", "image_filename", "image_name", "image_path"),
    *("img", "file", "path", "name", "identifier", "id"),
)
_CAPTION_COLUMNS = ("caption", "formula", "latex", "label", "normalized_label", "text", "truth")

_JSON = re.compile(r'\s*(\[?\s*\{\s*("|$)|\[\s*$)')  # with a name in it: captions may begin so


@dataclass(frozen=True)
class CaptionTable:
    """Captions as they were written.

    Attributes:
        texts: identifier, as `source_files.identifiers` tells it -> LaTeX.
        ambiguous: identifiers that the table gives two different captions.
        folders: the folders and the name of those that were written with folders.
        elsewhere: identifiers of files whose name the table knows in other folders alone.
    """

    texts: dict[str, str]
    ambiguous: frozenset[str] = frozenset()
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()

    @property
    def named_folders(self) -> frozenset[str]:
        """All folders that a row names."""
        return frozenset(folder for place in self.folders.values() for folder in place[:-1])

    def text(self, identifier: str) -> str:
        """The caption of a sample.

        Raises:
            Skip: there is none, or there are two that differ.
        """
        if identifier in self.ambiguous:
            raise Skip("the captions name it twice, and differ")
        if identifier in self.elsewhere:
            raise Skip("the captions name files so called in other folders, and not this one")
        if identifier not in self.texts:
            raise Skip("there is no caption of this name")
        return self.texts[identifier]

    def of_files(self, names: Iterable[str]) -> Matched:
        """Which captions are those of these files.

        What is called as no other file or row may lie in any folder. Where several are called
        alike, and the table names folders, these tell which is which, as far up as both the row
        and the file name them.
        """
        rows: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        for row in self.texts:
            place = self.folders.get(row, (row,))
            rows[place[-1]].append((place, row))
        places = {name: place_of(name) for name in names}
        count = Counter(place[-1] for place in set(places.values()))
        told: dict[str, str] = {}
        texts: dict[str, str] = {}
        ambiguous, elsewhere, used = set(), set(), set()
        for name, place in places.items():
            known = rows.get(place[-1], [])
            apart = count[place[-1]] > 1 and any(len(folders) > 1 for folders, _ in known)
            identifier = told[name] = "/".join(place) if apart else place[-1]
            alone = len(known) == 1 and not apart
            fitting = [row for folders, row in known if alone or _same_file(folders, place)]
            if fitting:
                used.update(fitting)
                texts[identifier] = self.texts[fitting[0]]
                differ = {self.texts[row] for row in fitting} != {texts[identifier]}
                if differ or self.ambiguous & set(fitting):
                    ambiguous.add(identifier)
            elif known:
                elsewhere.add(identifier)
        found = CaptionTable(texts, frozenset(ambiguous), elsewhere=frozenset(elsewhere))
        return Matched(told, found, [row for row in self.texts if row not in used])


class Matched(NamedTuple):
    """Captions and files.

    identifiers: of every file, by its name
    captions: by these identifiers
    left: rows that name none of the files
    """

    identifiers: dict[str, str]
    captions: CaptionTable
    left: list[str]


def _same_file(row: tuple[str, ...], file: tuple[str, ...]) -> bool:
    """Whether folders and name may be those of a file among several that are called alike."""
    shared = min(len(row), len(file))
    return row[-shared:] == file[-shared:] and (shared > 1 or len(row) == len(file))


def read_caption_table(
    path: Path, image_column: str | None = None, caption_column: str | None = None
) -> CaptionTable:
    """Read a table of file names (or identifiers) and captions.

    The form is taken from its first row: with a tab in it (HME100K, CROHME) columns lie between
    tabs, else between commas, with quotes (im2latex as CSV). A row with the usual names of columns
    is a header. Without one there are two columns, unless one is named here; that whose cell is
    called as a file is the first of the two, or simply the first column.

    Args:
        image_column, caption_column: which columns to take, by the name in the header or by
            number, 1 being the first.

    Raises:
        DataError: the file is missing, no text, or of another form (such as the two `.lst` files
            of im2latex), or has no such column.
    """
    rows, tabs = _rows(path)
    first = [cell.strip() for cell in rows[0][1]]
    lowered = [cell.lower() for cell in first]
    named = [column.lower() for column in (image_column, caption_column) if column]
    header = any(name in lowered for name in named) or (
        bool(set(lowered) & set(_FILE_COLUMNS)) and bool(set(lowered) & set(_CAPTION_COLUMNS))
    )
    image = _column(path, first, image_column, header, _FILE_COLUMNS)
    caption = _column(path, first, caption_column, header, _CAPTION_COLUMNS)
    if image is None:
        files = [place for place, cell in enumerate(lowered) if cell.endswith((*IMAGES, *INK))]
        others = [place for place in range(len(first)) if place != caption]
        image = files[0] if files else others[0]
    if caption is None:
        caption = next(place for place in range(len(first)) if place != image)
    texts: dict[tuple[str, ...], str] = {}
    ambiguous: set[tuple[str, ...]] = set()
    # of a row that says nothing of its columns, nobody knows what a third one would be
    most = len(first) if header or image_column or caption_column else 2
    for number, row in rows[header:]:
        if len(row) <= max(image, caption) or not row[image].strip():
            raise DataError(
                f"{path}:{number}: expected a name in column {image + 1} and a caption in column "
                f"{caption + 1}, found {row!r:.80}"
            )
        if any(map(str.strip, row[most:])):
            expected = f"{most} cells" + (" as in the first row" if most == len(first) else "")
            quotes = "put a caption with commas in quotes, or tabs between the cells"
            raise DataError(
                f"{path}:{number}: expected {expected}, found {len(row)}; "
                f"{'leave tabs out of captions' if tabs else quotes}, or name the columns, in the "
                "first row (image, caption) or with --image-column and --caption-column"
            )
        place, text = place_of(row[image]), trimmed(row[caption])
        if texts.setdefault(place, text) != text:
            ambiguous.add(place)
    names = identifiers(texts)
    return CaptionTable(
        {names[place]: text for place, text in texts.items()},
        frozenset(names[place] for place in ambiguous),
        {name: place for place, name in names.items() if len(place) > 1},
    )


def _unquoted(cell: str) -> str:
    """A cell without the quotes that stand around all of it, and double in it."""
    inside = cell.strip()[1:-1]
    if cell.strip() != f'"{inside}"' or '"' in inside.replace('""', ""):
        return cell
    return inside.replace('""', '"')


def _check_separators(path: Path, first: str) -> None:
    """Raise DataError for the forms that a first line shows to be others, and usual."""
    if _JSON.match(first):
        raise DataError(
            f"{path}: expected lines of name, tab and caption, or a CSV, found JSON; write it as "
            "one of these"
        )
    cells = [cell.strip().lower() for cell in first.split(";")]
    names = [cell for cell in cells if cell in _FILE_COLUMNS or cell.endswith((*IMAGES, *INK))]
    apart = "," not in first or any("," not in name for name in names)
    if len(cells) > 1 and "\t" not in first and apart:
        raise DataError(
            f"{path}: expected tabs or commas between name and caption, found semicolons; save it "
            "with tabs"
        )


def _rows(path: Path) -> tuple[list[tuple[int, list[str]]], bool]:
    """(line number, cells) of every row that is not blank; at least one, of two cells or more; and
    whether they lie between tabs."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
            _check_separators(path, first)
            tabs = "\t" in first
            file.seek(0)
            # Between tabs a quote is a character of the caption as any other, unless it stands
            # around all of it, as spreadsheets have it.
            reader = (
                csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                if tabs
                else csv.reader(file, strict=True, skipinitialspace=True)
            )
            rows = [
                (reader.line_num, list(map(_unquoted, row)) if tabs else row)
                for row in reader
                if any(map(str.strip, row))
            ]
    except OSError as error:
        raise DataError(
            f"expected captions at {path}, found nothing that can be read ({error.strerror}); "
            "check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected text in UTF-8, found another encoding ({error}); save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path}: expected cells whose quotes stand in pairs, found others ({error}); double a "
            "quote in a quoted cell, or put tabs between the cells"
        ) from error
    if not rows:
        raise DataError(f"{path}: expected rows of name and caption, found none")
    if len(rows[0][1]) < 2:
        raise DataError(
            f"{path}:{rows[0][0]}: expected a name and a caption between tabs, or a CSV, found "
            f"{rows[0][1][0]!r:.60}; of im2latex take the CSV (formula,image), or join its .lst "
            "files into one"
        )
    return rows, tabs


def _column(
    path: Path, first: Sequence[str], wanted: str | None, header: bool, usual: Sequence[str]
) -> int | None:
    """The number of a column, 0 being the first: as asked for, or by its usual name."""
    lowered = [cell.lower() for cell in first]
    if wanted is None:
        return next((lowered.index(name) for name in usual if name in lowered and header), None)
    if wanted.lower() in lowered and header:
        return lowered.index(wanted.lower())
    if wanted.isdecimal() and 1 <= int(wanted) <= len(first):
        return int(wanted) - 1
    raise DataError(
        f"{path}: expected a column {wanted!r}, found {', '.join(map(repr, first))}; name a column "
        f"of the header, or its number, 1 to {len(first)}"
    )


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """Captions by identifier, brought to the convention; as they stand, a token between spaces,
    where they are nothing that could be read.

    Raises:
        DataError: as `read_caption_table`, or a name has two captions that differ.
    """
    table = read_caption_table(path)
    if table.ambiguous:
        name = min(table.ambiguous)
        raise DataError(f"{path}: expected one caption of {name}, found two that differ")
    return {identifier: to_score(text) for identifier, text in table.texts.items()}


def to_score(text: str) -> tuple[str, ...]:
    """A caption as readings are compared with it: in the convention, if it can be said so."""
    try:
        return caption_tokens(text)
    except Skip:
        return tuple(text.split())


def caption_tokens(text: str, vocabulary: Vocabulary | None = None) -> tuple[str, ...]:
    r"""A caption in the evaluation convention.

    >>> caption_tokens(r"\dfrac12\,x")
    ('\\frac', '{', '1', '}', '{', '2', '}', 'x')

    Args:
        vocabulary: the tokens that may occur; by default all that the convention names.

    Raises:
        Skip: the caption is malformed, empty, or says what the convention cannot.
    """
    try:
        tokens = tuple(normalize(tokenize(text)))
    except InputError as error:
        raise Skip("the caption cannot be read", str(error)) from error
    if not tokens:
        raise Skip("the caption is empty")
    depth = 0
    for token in tokens:
        depth += token.startswith(r"\begin{") - token.startswith(r"\end{")
        if token in ("&", r"\\") and not depth:
            raise Skip("the caption has rows or columns outside of a matrix", token)
        if not (is_known(token) if vocabulary is None else token in vocabulary):
            raise Skip("the caption holds an unknown token", token)
    return tokens


def not_written(expressions: Iterable[Expression]) -> list[str]:
    """The identifiers of those whose captions no search writes that keeps to the grammar: a
    matrix, a group or an argument that is empty, a group that is no argument."""
    captions = {each.identifier: each.caption for each in expressions if each.caption}
    vocabulary = Vocabulary.from_captions(captions.values())
    try:
        grammar = GrammarConstraint(vocabulary)
    except VocabularyError:  # no symbol at all
        return list(captions)
    return [
        identifier
        for identifier, caption in captions.items()
        if not grammar.accepts(vocabulary.encode(caption))
    ]
