from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inktex.benchmarks.peers.eager import EagerPeer, stepwise, untrained
from inktex.benchmarks.peers.naming import peer_of
from inktex.benchmarks.peers.onnx_pair import PairModel
from inktex.benchmarks.peers.pair_export import pair_graphs, write_pair
from inktex.core.bundle import Bundle
from inktex.core.errors import DataError
from inktex.core.rendering import CANONICAL
from inktex.training.comer import Comer

from ..training import synthetic

TOKENS = [[1, 1], [4, 5], [3, 4]]


def test_its_pair_of_graphs_computes_the_same(tmp_path: Path) -> None:
    words, network = synthetic.vocabulary(), synthetic.comer()
    image = np.random.default_rng(0).random((1, 1, 48, 80), dtype=np.float32)
    write_pair(pair_graphs(network, words, CANONICAL), words, tmp_path)
    pair, eager = PairModel(tmp_path, len(words), 1), stepwise(network)
    assert (pair.max_length, pair.rendering) == (200, CANONICAL)
    [memory], [other] = pair.encode(image), eager.encode(image)
    state, told = pair.start(memory, 2), eager.start(other, 2)
    for tokens in TOKENS:
        found, state = pair.step(np.array(tokens), memory, state)
        expected, told = eager.step(np.array(tokens), other, told)
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_it_goes_by_its_name_and_has_no_weights(tiny_bundle: Bundle) -> None:
    peer = peer_of("comer,beam=5", tiny_bundle, random_weights=True)
    assert isinstance(peer, EagerPeer)
    assert not peer.trained
    assert peer.configuration.label == "comer, PyTorch eager fp32, 1 thread, beam 5"
    made, rendering = untrained("comer", synthetic.vocabulary())
    assert isinstance(made, Comer)
    assert rendering == CANONICAL
    for text, random in (("comer", False), ("comer,from=comer.ckpt", True)):
        with pytest.raises(DataError, match="expected no weights, as the published ones"):
            peer_of(text, tiny_bundle, random_weights=random)
