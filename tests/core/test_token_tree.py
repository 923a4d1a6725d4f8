from __future__ import annotations

import numpy as np

from inktex.core.token_tree import TokenTree

EOS, ONE, TWO, THREE = 2, 3, 4, 5


def test_what_sequences_begin_with_alike_is_in_a_tree_once() -> None:
    tree = TokenTree.of([(EOS, ONE, TWO), (EOS, ONE, THREE), (EOS, TWO)])
    assert tree.tokens.tolist() == [EOS, ONE, TWO, THREE, TWO]
    assert tree.positions.tolist() == [0, 1, 2, 2, 1]
    assert [path.tolist() for path in tree.paths] == [[0, 1, 2], [0, 1, 3], [0, 4]]
    assert tree.ancestors.tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 0, 0, 0, 1],
    ]
    assert tree.ancestors.dtype == np.float32
    assert {name: array.dtype for name, array in tree.inputs.items()} == {
        "tokens": np.int64,
        "positions": np.int64,
        "ancestors": np.float32,
    }


def test_nothing_makes_a_tree_without_nodes() -> None:
    tree = TokenTree.of([(), ()])
    assert tree.tokens.shape == tree.positions.shape == (0,)
    assert tree.ancestors.shape == (0, 0)
    assert [path.tolist() for path in tree.paths] == [[], []]
