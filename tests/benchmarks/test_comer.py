from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inktex.benchmarks.peers.comer import Comer, Refinement
from inktex.benchmarks.peers.eager import EagerPeer, stepwise, untrained
from inktex.benchmarks.peers.naming import peer_of
from inktex.benchmarks.peers.onnx_pair import PairModel
from inktex.benchmarks.peers.pair_export import pair_graphs, write_pair
from inktex.core.bundle import Bundle
from inktex.core.errors import DataError
from inktex.core.rendering import CANONICAL

from ..training import synthetic

TOKENS = [[1, 1], [4, 5], [3, 4]]


@pytest.fixture(scope="module")
def network() -> Comer:
    """With an encoder of one convolution."""
    torch.manual_seed(0)
    return Comer(len(synthetic.vocabulary()), nn.Conv2d(1, 8, 16, stride=16), 8).eval()


def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 1, 48, 80), dtype=np.float32)


def test_it_has_the_published_size() -> None:
    """6.39 million parameters, with CROHME's 113 tokens."""
    count = sum(each.numel() for each in Comer(113).parameters())
    assert round(count / 1e6, 2) == 6.39


def test_what_is_written_later_changes_nothing_before(network: Comer) -> None:
    with torch.inference_mode():
        memory = network.encode(torch.from_numpy(image()))
        assert [each.shape for each in memory] == [(1, 3, 5, 256)]
        whole = network.read(torch.tensor([[1, 4, 5, 3, 6]]), *memory)
        part = network.read(torch.tensor([[1, 4, 5]]), *memory)
    torch.testing.assert_close(whole[:, :3], part)
    assert not torch.allclose(whole[:, 0], whole[:, 1])


def test_the_refinement_sees_what_was_looked_at_before_and_its_neighbours() -> None:
    """Step by step and image by image, with sums and a convolution written out."""
    torch.manual_seed(0)
    refinement, rows, columns = Refinement().eval(), 3, 4
    assert refinement.norm.running_mean is not None
    assert refinement.first.bias is not None
    nn.init.normal_(refinement.norm.running_mean)
    before, present = torch.rand(2, 2, 8, 5, rows * columns).unbind()
    with torch.inference_mode():
        found = refinement(before, present, rows, columns)
        assert found.shape == before.shape
        for image_number in range(2):
            for step in range(5):
                past = torch.cat(
                    [each[image_number, :, :step].sum(dim=1) for each in (before, present)]
                )
                grid = nn.functional.pad(past.reshape(16, rows, columns), (2, 2, 2, 2))
                windows = grid.unfold(1, 5, 1).unfold(2, 5, 1)  # [16, rows, columns, 5, 5]
                hidden = torch.einsum("cyxij,fcij->fyx", windows, refinement.first.weight)
                hidden = torch.relu(hidden + refinement.first.bias[:, None, None])
                expected = refinement.norm(refinement.second(hidden)[None])[0].flatten(1)
                torch.testing.assert_close(found[image_number, :, step], expected)


def test_its_pair_of_graphs_computes_the_same(network: Comer, tmp_path: Path) -> None:
    words = synthetic.vocabulary()
    write_pair(pair_graphs(network, words), words, tmp_path)
    pair, eager = PairModel(tmp_path, len(words), 1), stepwise(network)
    assert pair.max_length == 200
    [memory], [other] = pair.encode(image()), eager.encode(image())
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
