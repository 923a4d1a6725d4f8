"""A vocabulary as a text file: one token a line, without the special ones."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import VocabularyError
from ..core.replacement import replacing
from ..core.vocabulary import SPECIAL_TOKENS, Vocabulary

_REMEDY = "write one with `inktex data vocabulary`"


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Write the tokens in order of their numbers; an existing file is replaced when all is written.

    Raises:
        DataError: the file cannot be written.
    """
    tokens = vocabulary.tokens[len(SPECIAL_TOKENS) :]
    with replacing(path) as partial:
        partial.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")


def read_vocabulary(path: Path) -> Vocabulary:
    """Read such a file: the order of its lines becomes that of the tokens.

    Raises:
        VocabularyError: the file is missing or no text, a line is blank or holds more than a token,
            or a token stands there twice or is one of the special ones, which are always there.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise VocabularyError(
            f"expected a text file with one token a line at {path}, found none ({error}); {_REMEDY}"
        ) from error
    if lines[-1] == "":
        lines.pop()
    tokens: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        token = line.strip()
        found = ""
        if not token:
            found = "a blank line; remove it"
        elif len(token.split()) > 1:
            found = f"{token!r}; put each token on a line of its own"
        elif token in SPECIAL_TOKENS:
            found = f"{token}, which every vocabulary has; remove it"
        elif token in tokens:
            found = f"{token} again, as in line {tokens[token]}; remove one of them"
        if found:
            raise VocabularyError(f"{path}:{number}: expected one new token, found {found}")
        tokens[token] = number
    if not tokens:
        raise VocabularyError(f"{path}: expected one token a line, found no line; {_REMEDY}")
    return Vocabulary(SPECIAL_TOKENS + tuple(tokens))
