from __future__ import annotations

import torch

from inktex.training.transformer_decoder import MASKED
from inktex.training.two_scale_encoder import CELL

from .synthetic import network


def images() -> torch.Tensor:
    """Two images of 4 x 6 cells: ink in cells (0, 0), (1, 2), (3, 5), and in (2, 1) only."""
    made = torch.zeros(2, 1, 32, 48)
    made[0, 0, 3, 4] = made[0, 0, 12, 20] = made[0, 0, 31, 47] = 1.0
    made[1, 0, 16, 8] = 0.5
    made[1, 0, 0, 0] = 0.1  # too faint
    return made


def test_cells_with_ink_are_found() -> None:
    inked = network().inked(images())
    assert inked.nonzero().tolist() == [[0, 0], [0, 8], [0, 23], [1, 13]]


def test_all_cells_are_there_and_those_without_ink_masked() -> None:
    cells = network().all_cells(images())
    assert cells.features.shape == (2, 24, 16)
    assert cells.places.shape == (1, 24, 16)
    assert (cells.bias == 0).sum(dim=1).tolist() == [3, 1]
    assert set(cells.bias.flatten().tolist()) == {0.0, MASKED}
    assert cells.numbers.tolist() == [list(range(24))]


def test_inked_cells_come_first_in_reading_order() -> None:
    made = network()
    everything, few = made.all_cells(images()), made.inked_cells(images())
    assert few.numbers.shape == (2, 3)
    assert few.numbers[0].tolist() == [0, 8, 23]
    assert few.numbers[1, 0] == 13
    assert few.bias.tolist() == [[0, 0, 0], [0, MASKED, MASKED]]
    for row in (0, 1):
        torch.testing.assert_close(few.features[row], everything.features[row, few.numbers[row]])
        torch.testing.assert_close(few.places[row], everything.places[0, few.numbers[row]])


def test_blank_paper_gives_a_memory_too() -> None:
    made = network()
    blank = torch.zeros(1, 1, 2 * CELL, 2 * CELL)
    cells = made.inked_cells(blank)
    assert cells.features.shape == (1, 1, 16)
    memory = made.encode(blank)
    state = made.decoder.start(memory, 1)
    log_probs, _ = made.decoder.step(torch.tensor([1]), torch.tensor([0]), memory, state)
    assert torch.isfinite(log_probs).all()
