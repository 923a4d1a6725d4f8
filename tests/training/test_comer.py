from __future__ import annotations

import torch
from torch import nn

from inktex.training.comer import Comer, Refinement

from . import synthetic


def test_it_has_the_published_size() -> None:
    """6.39 million parameters, with CROHME's 113 tokens."""
    count = sum(each.numel() for each in Comer(113).parameters())
    assert round(count / 1e6, 2) == 6.39


def test_what_is_written_later_changes_nothing_before() -> None:
    network = synthetic.comer()
    with torch.inference_mode():
        memory = network.encode(torch.rand(1, 1, 48, 80))
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
