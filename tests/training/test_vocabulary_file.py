from __future__ import annotations

from pathlib import Path

import pytest

from inktex.core.errors import VocabularyError
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary
from inktex.training.vocabulary_file import read_vocabulary, write_vocabulary


def test_a_vocabulary_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    made = Vocabulary.from_captions([["x", "{", r"\frac", "}", "中"], ["1"]])
    write_vocabulary(path, made)
    assert path.read_text(encoding="utf-8").split("\n") == ["1", r"\frac", "x", "{", "}", "中", ""]
    assert read_vocabulary(path) == made
    assert [each.name for each in tmp_path.iterdir()] == ["vocabulary.txt"]


def test_the_order_of_the_lines_is_that_of_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(b"\xef\xbb\xbfy\r\nx\r\n\\alpha")
    assert read_vocabulary(path).tokens == (*SPECIAL_TOKENS, "y", "x", r"\alpha")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"x\n\ny\n", r"vocabulary\.txt:2: expected one new token, found a blank line"),
        (b"x\ny\n\n", r"vocabulary\.txt:3: .* a blank line; remove it"),
        (b"x\ny z\n", r"vocabulary\.txt:2: .* found 'y z'; put each token on a line"),
        (b"x\n<eos>\n", r"vocabulary\.txt:2: .* found <eos>, which every vocabulary has"),
        (b"x\ny\nx\n", r"vocabulary\.txt:3: .* found x again, as in line 1"),
        (b"", "expected one token a line, found no line"),
        (b"\xff\xfe\0x", "expected a text file with one token a line"),
    ],
)
def test_what_is_no_vocabulary_says_in_which_line(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(content)
    with pytest.raises(VocabularyError, match=told):
        read_vocabulary(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"found none .* `inktex data vocabulary`"):
        read_vocabulary(tmp_path / "none.txt")
