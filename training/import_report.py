"""What an import took, and what it skipped and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.errors import DataError

_DISAGREEMENTS = 100
_UNESCAPED_DOLLAR = re.compile(r"(?<!\\)\$")


class Skip(DataError):  # noqa: N818 - reads as what it says
    """Why a file is not taken: a reason that many share, and what is particular to this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def printable(text: str) -> str:
    r"""The text, with what UTF-8 cannot hold as an escape: the name of a file may be of any bytes,
    and JSON may name half of a pair that stands for one character.

    >>> printable("caf\udce9 é")
    'caf\\udce9 é'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def check_text(text: str, what: str) -> None:
    """Raise Skip for what a file in UTF-8 cannot hold."""
    if printable(text) != text:
        raise Skip(f"{what} is no text in UTF-8", printable(text))


class Skipped(NamedTuple):
    """A file that was not taken, and why."""

    name: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.detail else self.name


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        imported: expressions taken.
        skipped: files not taken, in the order they were read.
        images_left: images that lay beside ink, and were not looked at.
        strokes_left: files of JSON that lay beside images, likewise.
        without_file: captions for which no file was found.
        not_written: expressions whose captions no search writes that keeps to the grammar.
        respelt: captions that were not in the evaluation convention and now are.
        splits: how many files named which split of their data set.
        from_tree: captions taken from the layout tree.
        agreeing, compared: captions made from the tree that equal the caption given for them, or
            else the annotated LaTeX.
        tokens_with_ink, inked_tokens: of the tokens that ink can be known for, how many have it.
        disagreements: (identifier, caption given, caption from the tree), the first hundred.
    """

    imported: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    images_left: int = 0
    strokes_left: int = 0
    without_file: list[str] = field(default_factory=list)
    not_written: list[str] = field(default_factory=list)
    respelt: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    from_tree: int = 0
    agreeing: int = 0
    compared: int = 0
    tokens_with_ink: int = 0
    inked_tokens: int = 0
    disagreements: list[tuple[str, str, str]] = field(default_factory=list)

    def skip(self, name: str, why: Skip) -> None:
        """Note that the file `name` is not taken."""
        self.skipped.append(Skipped(printable(name), why.reason, printable(why.detail)))

    def count_caption(self, text: str, caption: Sequence[str]) -> None:
        """Note whether a caption was spelt otherwise than in the convention."""
        self.respelt += _UNESCAPED_DOLLAR.sub("", "".join(text.split())) != "".join(caption)

    def compare(self, identifier: str, given: str, made: str) -> None:
        """Note whether the caption given is the one made from the layout tree."""
        self.compared += 1
        self.agreeing += made == given
        if made != given and len(self.disagreements) < _DISAGREEMENTS:
            self.disagreements.append((identifier, given, made))

    def __str__(self) -> str:
        lines = [f"{self.imported} expressions imported, {len(self.skipped)} skipped"]
        for reason, count in Counter(each.reason for each in self.skipped).most_common():
            example = next(each for each in self.skipped if each.reason == reason)
            lines.append(f"skipped {count}: {reason} (as {example})")
        if self.images_left:
            lines.append(
                f"{self.images_left} images beside the ink are left out; import them by themselves"
            )
        if self.strokes_left:
            lines.append(
                f"{self.strokes_left} JSON files beside the images are left out; where they are "
                "ink, import them by themselves"
            )
        if self.without_file:
            lines.append(
                f"{len(self.without_file)} captions name no file that was found (as "
                f"{self.without_file[0]})"
            )
        if self.respelt:
            lines.append(f"{self.respelt} captions brought to the convention")
        if self.not_written:
            lines.append(
                f"{len(self.not_written)} captions that only --no-grammar could read (as that of "
                f"{self.not_written[0]})"
            )
        if len(self.splits) > 1:
            told = ", ".join(f"{count} {name}" for name, count in sorted(self.splits.items()))
            lines.append(f"of several splits: {told}; --split takes one of them")
        if self.inked_tokens:
            lines.append(
                f"ink known for {self.tokens_with_ink} of {self.inked_tokens} symbol tokens"
            )
        if self.compared:
            given = "annotated captions" if self.from_tree else "captions"
            taken = ", which were taken" if self.from_tree else ""
            lines.append(
                f"{self.agreeing} of {self.compared} {given} equal those made from the layout tree"
                f"{taken}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**vars(self), "skipped": [each._asdict() for each in self.skipped]}
