from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from inktex.training.augmentation import Augmentation
from inktex.training.recognizer import STRIDE
from inktex.training.views import ViewStream, ink_box, view

from .synthetic import expressions


def stream(seed: int = 1) -> ViewStream:
    return ViewStream(expressions(10), Augmentation(), (0.7, 1.4), 4, 100_000, seed)


def test_a_view_is_padded_and_tells_where_its_ink_is() -> None:
    first = np.zeros((20, 40), np.uint8)
    first[3:9, 5:31] = 255
    second = np.zeros((7, 9), np.uint8)
    second[6, 8] = 200
    second[0, 0] = 20  # too faint beside the rest
    made = view([first, second])
    assert made.images.shape == (2, 1, 32, 64)
    assert made.boxes.tolist() == [[5, 3, 31, 9], [8, 6, 9, 7]]
    assert made.images.dtype == torch.float32
    torch.testing.assert_close(made.images[0, 0, :20, :40], torch.from_numpy(first) / 255)
    assert made.images[1].sum().item() == pytest.approx(220 / 255)


def test_a_blank_drawing_has_the_box_of_the_paper() -> None:
    assert ink_box(np.zeros((5, 7), np.uint8)) == (0, 0, 7, 5)


def test_views_show_the_same_ink_in_other_sizes() -> None:
    _, (first, second) = next(stream().batches())
    assert 2 <= len(first.images) == len(second.images) <= 4
    for each in (first, second):
        assert each.images.shape[2] % STRIDE == each.images.shape[3] % STRIDE == 0
    sizes = [each.boxes[:, 2:] - each.boxes[:, :2] for each in (first, second)]
    assert (sizes[0] - sizes[1]).abs().amax() > 2


def test_sizes_lie_in_the_range() -> None:
    calm = Augmentation(0, 0, 0, 0, 0, 0, 0)
    whole = ViewStream(expressions(10), calm, (1.0, 1.0), 4, 100_000, 1)
    scaled = ViewStream(expressions(10), calm, (0.5, 2.0), 4, 100_000, 1)
    ratios = []
    for (_, [one]), (_, [other]) in itertools.islice(
        zip(whole.batches(0, 1), scaled.batches(0, 1), strict=False), 12
    ):
        width = other.boxes[:, 2] - other.boxes[:, 0]
        ratios.append(float((width / (one.boxes[:, 2] - one.boxes[:, 0])).mean()))
    assert 0.35 < min(ratios) < 0.8
    assert 1.3 < max(ratios) < 2.6


def test_an_epoch_shows_every_expression_once() -> None:
    for number in (0, 3):
        assert sorted(itertools.chain(*stream().epoch(number))) == list(range(10))
    assert stream().epoch(0) != stream().epoch(1)


def test_the_stream_is_the_same_wherever_it_starts() -> None:
    whole = list(itertools.islice(stream().batches(), 6))
    late = list(itertools.islice(stream().batches(4), 2))
    for (epoch, views), (late_epoch, late_views) in zip(whole[4:], late, strict=True):
        assert epoch == late_epoch
        for one, other in zip(views, late_views, strict=True):
            assert torch.equal(one.images, other.images)
    _, other_seed = next(stream(seed=2).batches())
    here, there = whole[0][1][0].images, other_seed[0].images
    assert here.shape != there.shape or not torch.equal(here, there)
