"""Step models made up for tests: what comes next depends on all tokens read, or on the last one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inktex.core.token_tree import TokenTree
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

SOS, EOS = 1, 2
SIX = Vocabulary((*SPECIAL_TOKENS, "x", "y", "z"))
FORMULA_TOKENS = ["x", "1", "[", "]", "{", "}", "_", "^", "\\frac", "\\sqrt", "\\sum", "\\limits"]
FORMULAS = Vocabulary((*SPECIAL_TOKENS, *FORMULA_TOKENS))


Chances = Callable[[tuple[int, ...]], npt.NDArray[np.float32]]  # prefix -> log_probs [vocab]


@dataclass
class Rows:
    """The state of the fake: what every row has read; it can be used only once."""

    prefixes: list[tuple[int, ...]]
    used: bool = False

    def use(self) -> list[tuple[int, ...]]:
        assert not self.used, "a state was used twice"
        self.used = True
        return self.prefixes


class PrefixModel:
    """A step model whose log-probabilities depend on the whole prefix, so that no mistake in the
    bookkeeping of rows goes unnoticed. Counts its steps and the rows of each."""

    def __init__(self, chances: Chances, vocabulary_size: int) -> None:
        self.chances = chances
        self.vocabulary_size = vocabulary_size
        self.rows: list[int] = []

    def encode(self, images: npt.NDArray[np.float32]) -> list[str]:
        return [f"image {number}" for number in range(len(images))]

    def start(self, memory: str, beams: int) -> Rows:
        assert memory == "image 0"
        self.rows = []
        return Rows([()] * beams)

    def step(
        self, tokens: npt.NDArray[np.int64], memory: str, state: Rows
    ) -> tuple[npt.NDArray[np.float32], Rows]:
        assert memory == "image 0"
        assert tokens.dtype == np.int64
        prefixes = state.use()
        assert tokens.shape == (len(prefixes),)
        self.rows.append(len(prefixes))
        read = [(*prefix, int(token)) for prefix, token in zip(prefixes, tokens, strict=True)]
        return np.stack([self.chances(prefix[1:]) for prefix in read]), Rows(read)

    def reorder(self, state: Rows, order: npt.NDArray[np.int64]) -> Rows:
        assert order.dtype == np.int64
        prefixes = state.use()
        return Rows([prefixes[row] for row in order])


class AtOnce(PrefixModel):
    """Also reads whole trees, and counts their nodes and how often it went on from one."""

    def __init__(self, model: PrefixModel, reads_trees: bool = True) -> None:
        super().__init__(model.chances, model.vocabulary_size)
        self.reads_trees = reads_trees
        self.nodes: list[int] = []
        self.resumed = 0

    def read_tree(self, tree: TokenTree, memory: str) -> tuple[npt.NDArray[np.float32], TokenTree]:
        assert memory == "image 0"
        self.nodes.append(len(tree.tokens))
        found = []
        for row, position in zip(tree.ancestors, tree.positions, strict=True):
            path = np.flatnonzero(row)
            assert sorted(tree.positions[path]) == list(range(position + 1))
            ordered = path[np.argsort(tree.positions[path])]
            found.append(self.chances(tuple(tree.tokens[ordered][1:].tolist())))
        return np.stack(found), tree

    def resume(self, nodes: TokenTree, path: npt.NDArray[np.int64], memory: str) -> Rows:
        assert memory == "image 0"
        self.resumed += 1
        return Rows([tuple(nodes.tokens[path].tolist())])


def random_model(seed: int, vocabulary_size: int, sharpness: float = 2.0) -> PrefixModel:
    """Every prefix has its own random distribution over the next token."""

    def chances(prefix: tuple[int, ...]) -> npt.NDArray[np.float32]:
        generator = np.random.default_rng([seed, *prefix])
        logits = generator.normal(size=vocabulary_size) * sharpness
        log_probs: npt.NDArray[np.float32] = (logits - np.log(np.exp(logits).sum())).astype(
            np.float32
        )
        return log_probs

    return PrefixModel(chances, vocabulary_size)


def markov_model(table: list[list[float]]) -> PrefixModel:
    """Probabilities [last token, next token]; the row of `<sos>` is the first step."""
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array(table, dtype=np.float32))
    return PrefixModel(lambda prefix: log_probs[prefix[-1] if prefix else SOS], len(table))


def all_sequences(vocabulary_size: int, most: int) -> list[tuple[int, ...]]:
    letters = [token for token in range(vocabulary_size) if token not in (SOS, EOS)]
    return [
        tokens for count in range(most + 1) for tokens in itertools.product(letters, repeat=count)
    ]


def by_score(
    model: PrefixModel, sequences: list[tuple[int, ...]], length_penalty: float
) -> list[tuple[float, tuple[int, ...]]]:
    """(score, tokens) of every sequence, best first."""
    found = []
    for tokens in sequences:
        log_prob = sum(
            float(model.chances(tokens[:position])[token])
            for position, token in enumerate((*tokens, EOS))
        )
        found.append((log_prob / (len(tokens) + 1) ** length_penalty, tokens))
    return sorted(found, reverse=True)
