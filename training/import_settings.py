"""What an import is to take."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.vocabulary import Vocabulary
from .captions import CaptionTable


@dataclass(frozen=True)
class ImportSettings:
    """What an import is to take.

    Attributes:
        captions: they win over captions in the files, and files without one are skipped. Images
            need them; ink without them takes its caption from its layout tree, or else from its
            annotated LaTeX.
        vocabulary: the tokens that a caption may hold, else all that the convention names.
        splits: only files that name one of these splits of their data set, as MathWriting's do;
            all files where this is empty.
        labelled: whether captions are wanted at all.
    """

    captions: CaptionTable | None = None
    vocabulary: Vocabulary | None = None
    splits: tuple[str, ...] = ()
    labelled: bool = True
