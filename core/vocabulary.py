"""The tokens a recognizer can write, and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from .braces import needed, restored
from .errors import VocabularyError

PAD, SOS, EOS = "<pad>", "<sos>", "<eos>"
SPECIAL_TOKENS = (PAD, SOS, EOS)


@dataclass(frozen=True)
class Vocabulary:
    """An ordered set of LaTeX tokens; the first three are `<pad>`, `<sos>` and `<eos>`.

    >>> vocabulary = Vocabulary.from_captions([["x", "^", "{", "2", "}"]])
    >>> vocabulary.decode(vocabulary.encode(["x", "^", "{", "2", "}"]))
    ['x', '^', '{', '2', '}']

    Attributes:
        tokens: in the order of their numbers.
        brief: whether an argument that is one symbol is written without braces (see `braces`).
            Captions have all of them: they are spared in numbers alone.
    """

    tokens: tuple[str, ...]
    brief: bool = False

    def __post_init__(self) -> None:
        if self.tokens[:3] != SPECIAL_TOKENS:
            raise VocabularyError(
                f"a vocabulary starts with {' '.join(SPECIAL_TOKENS)}; "
                f"this one starts with {' '.join(self.tokens[:3])!r}"
            )
        if len(set(self.tokens)) != len(self.tokens):
            twice = sorted({token for token in self.tokens if self.tokens.count(token) > 1})
            raise VocabularyError(f"a vocabulary holds every token once; found twice: {twice}")

    @classmethod
    def from_captions(cls, captions: Iterable[Sequence[str]]) -> Vocabulary:
        """The sorted set of all tokens in `captions`, after the special ones."""
        found = {token for caption in captions for token in caption}
        return cls(SPECIAL_TOKENS + tuple(sorted(found - set(SPECIAL_TOKENS))))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self.index

    @property
    def pad(self) -> int:
        return 0

    @property
    def sos(self) -> int:
        return 1

    @property
    def eos(self) -> int:
        return 2

    @cached_property
    def index(self) -> dict[str, int]:
        """token -> number"""
        return {token: number for number, token in enumerate(self.tokens)}

    def written(self, caption: Sequence[str]) -> list[int]:
        """The places of the tokens of a caption that are written: all, unless it is to be brief."""
        return needed(caption) if self.brief else list(range(len(caption)))

    def encode(self, caption: Sequence[str]) -> list[int]:
        """The numbers of the tokens that are written, without `<sos>` and `<eos>`.

        Raises:
            VocabularyError: a token is not in the vocabulary.
        """
        try:
            return [self.index[caption[place]] for place in self.written(caption)]
        except KeyError as error:
            raise VocabularyError(
                f"the token {error.args[0]!r} is not among the {len(self)} this vocabulary holds; "
                "normalise the caption, or train with a vocabulary built from this data"
            ) from None

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The caption up to the first `<eos>`; `<pad>` and `<sos>` are left out."""
        caption: list[str] = []
        for number in numbers:
            if number == self.eos:
                break
            if number not in (self.pad, self.sos):
                caption.append(self.tokens[number])
        return restored(caption) if self.brief else caption
