from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inktex.core.rendering import (
    CANONICAL,
    Rendering,
    render_ink,
)
from inktex.training.augmentation import Augmentation
from inktex.training.batches import (
    Batch,
    draw,
)
from inktex.training.stream import Buckets, TrainingStream, drawn_sizes, evaluation_batches
from inktex.training.training_module import StreamDataset, loader

from .synthetic import expression, expressions, images, vocabulary


@given(
    sizes=st.lists(st.tuples(st.integers(17, 200), st.integers(17, 900)), min_size=0, max_size=60),
    batch_size=st.integers(1, 9),
    max_pixels=st.integers(2_000, 400_000),
    seed=st.none() | st.integers(0, 99),
)
def test_a_plan_holds_every_expression_once_within_its_limits(
    sizes: list[tuple[int, int]], batch_size: int, max_pixels: int, seed: int | None
) -> None:
    array = np.array(sizes, np.int64).reshape(-1, 2)
    buckets = Buckets(array, batch_size, max_pixels)
    plan = buckets.plan(None if seed is None else np.random.default_rng(seed))
    assert sorted(itertools.chain.from_iterable(plan)) == list(range(len(sizes)))
    # the random order takes sizes for up to 8 % other than they are, before and after
    slack = 1.0 if seed is None else np.exp(0.16)
    for batch in plan:
        height, width = array[batch].max(axis=0)
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * height * width <= max_pixels * slack


def test_plans_differ_from_epoch_to_epoch_and_pad_little() -> None:
    rng = np.random.default_rng(0)
    sizes = np.stack([rng.integers(30, 160, 400), rng.integers(40, 700, 400)], axis=1)
    buckets = Buckets(sizes, 16, 400_000)
    one, same, other = (buckets.plan(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert {frozenset(batch) for batch in one} != {frozenset(batch) for batch in other}
    padded = sum(len(batch) * sizes[batch].max(axis=0).prod() for batch in one)
    in_order = [range(start, start + 16) for start in range(0, 400, 16)]
    without_buckets = sum(16 * sizes[list(batch)].max(axis=0).prod() for batch in in_order)
    assert padded < 1.6 * sizes.prod(axis=1).sum() < 0.7 * without_buckets


def stream(seed: int = 1, count: int = 10, splices: float = 0.5) -> TrainingStream:
    augmentation = Augmentation(splices=splices)
    return TrainingStream(expressions(count), vocabulary(), augmentation, 4, 60_000, seed, 30)


def same(one: Batch, other: Batch) -> bool:
    tensors = zip(one[:5], other[:5], strict=True)
    return all(torch.equal(a, b) for a, b in tensors) and [*one.parts] == [*other.parts]


def taken(batches: Iterator[tuple[int, Batch]], count: int) -> list[tuple[int, Batch]]:
    return list(itertools.islice(batches, count))


def test_a_stream_goes_on_where_it_was_left() -> None:
    whole = taken(stream().batches(), 9)
    rest = taken(stream().batches(skip=4), 5)
    assert [epoch for epoch, _ in rest] == [epoch for epoch, _ in whole[4:]]
    assert all(same(a, b) for (_, a), (_, b) in zip(whole[4:], rest, strict=True))
    assert whole[-1][0] > 0  # into the second epoch at least
    assert not same(whole[0][1], taken(stream(seed=2).batches(), 1)[0][1])


def test_two_processes_share_the_stream() -> None:
    whole = taken(stream().batches(skip=2), 8)
    ranks = [taken(stream().batches(skip=2 + rank, stride=2), 4) for rank in (0, 1)]
    for number, (epoch, batch) in enumerate(whole):
        other_epoch, other = ranks[number % 2][number // 2]
        assert epoch == other_epoch
        assert same(batch, other)


def test_an_epoch_of_the_stream_holds_every_expression_once() -> None:
    made = stream(splices=0.0)
    first = list(itertools.takewhile(lambda plan: plan[0] == 0, made.plans()))
    identifiers = [each.identifier for _, batch in first for each in batch]
    assert sorted(identifiers) == sorted(each.identifier for each in expressions(10))
    targets = [
        tuple(row[row != 0].tolist())
        for _, batch in taken(made.batches(), len(first))
        for row in batch.targets[:, 0]
    ]
    words = vocabulary()
    wanted = [(*words.encode(each.caption), words.eos) for each in expressions(10)]
    assert sorted(targets) == sorted(wanted)


def test_new_formulas_stand_in_the_place_of_some_in_every_epoch() -> None:
    def epochs(share: float) -> list[list[str]]:
        augmentation = Augmentation(splices=0.0, synthetic=share)
        made = TrainingStream(expressions(40), vocabulary(), augmentation, 4, 60_000, 1, 30)
        return [[each.identifier for batch in made.epoch(n) for each in batch] for n in (0, 1)]

    assert not any(name.startswith("new") for epoch in epochs(0.0) for name in epoch)
    first, second = epochs(0.5)
    for epoch in (first, second):
        assert len(epoch) == 40
        assert 10 <= sum(name.startswith("new") for name in epoch) <= 30
    assert sorted(first) != sorted(second)
    assert epochs(0.5) == [first, second]
    batch = next(
        iter(
            TrainingStream(
                expressions(8), vocabulary(), Augmentation(synthetic=1.0), 4, 60_000, 1, 30
            ).batches()
        )
    )[1]
    assert batch.ink.sum() > 0  # it is known which ink is whose


def test_evaluation_sees_every_expression_as_it_is() -> None:
    made = expressions(7)
    words = vocabulary()
    seen = {}
    for indices, batch in evaluation_batches(made, words, 3, 60_000):
        for index, image in zip(indices, batch.images, strict=True):
            assert index not in seen
            seen[index] = image[0].numpy()
    assert sorted(seen) == list(range(7))
    for index, image in seen.items():
        drawn = draw(made[index]).image
        h, w = drawn.shape
        np.testing.assert_allclose(image[:h, :w] * 255, drawn, atol=1e-3)


def test_nothing_gives_no_batches() -> None:
    assert drawn_sizes([]).shape == (0, 2)
    assert list(evaluation_batches([], vocabulary(), 4, 1000)) == []


def test_a_stream_of_ink_and_images_goes_on_where_it_was_left() -> None:
    mixed = [*expressions(6), *images(6)]
    made = TrainingStream(mixed, vocabulary(), Augmentation(), 4, 60_000, 1, 30)
    whole = taken(made.batches(), 5)
    rest = taken(made.batches(skip=3), 2)
    assert all(same(a, b) for (_, a), (_, b) in zip(whole[3:], rest, strict=True))
    first = list(itertools.takewhile(lambda plan: plan[0] == 0, made.plans()))
    seen = {each.identifier for _, batch in first for each in batch}
    assert {f"image-{number}" for number in range(6)} <= seen
    for _, batch in whole:
        assert batch.images.amax(dim=(1, 2, 3)).min() > 0.5  # ink in every one


def test_images_alone_make_batches_without_known_ink() -> None:
    made = images(5)
    stream = TrainingStream(made, vocabulary(), Augmentation(), 4, 60_000, 1, 30)
    for _, batch in taken(stream.batches(), 3):
        assert not batch.ink.any()
        assert batch.images.any()
    indices = [
        index for found, _ in evaluation_batches(made, vocabulary(), 3, 60_000) for index in found
    ]
    assert sorted(indices) == list(range(5))


def test_every_rendering_has_its_own_scale_and_pen() -> None:
    made = expression(0)
    strokes = [stroke.astype(np.float64) for stroke in made.strokes]
    drawing = draw(made, rendering=CANONICAL)
    np.testing.assert_array_equal(drawing.image, render_ink(strokes, CANONICAL))
    assert drawn_sizes([made], CANONICAL).tolist() == [list(drawing.image.shape)]
    stream = TrainingStream(
        expressions(4), vocabulary(), Augmentation(), 4, 900_000, 1, 30, Rendering(48.0, 5.0)
    )
    small = TrainingStream(expressions(4), vocabulary(), Augmentation(), 4, 900_000, 1, 30)
    [(_, large)], [(_, usual)] = taken(stream.batches(), 1), taken(small.batches(), 1)
    assert large.images.shape[2] > 1.5 * usual.images.shape[2]
    [(_, found)] = evaluation_batches([made], vocabulary(), 1, 900_000, CANONICAL)
    assert found.images.shape[3] >= drawing.image.shape[1]


@pytest.mark.parametrize("stride", [1, 2])
def test_workers_have_lanes_and_are_taken_from_in_turn(stride: int) -> None:
    """Also where two processes train, each on every second batch; every epoch is somebody's."""
    workers = 2
    lanes = [taken(stream().batches(0, 1, lane, workers), 12) for lane in range(workers)]
    assert {epoch % workers for epoch, _ in lanes[0]} == {0}
    assert {epoch % workers for epoch, _ in lanes[1]} == {1}

    def drawn(skip: int, count: int) -> list[tuple[int, Batch]]:
        return taken(iter(loader(StreamDataset(stream(), skip, stride), workers, False)), count)

    for rank in range(stride):
        whole = drawn(rank, 8)
        for turn, (epoch, batch) in enumerate(whole):
            taken_before, lane = divmod(turn, workers)
            other, likewise = lanes[lane][taken_before * stride + rank]
            assert epoch == other
            assert same(batch, likewise)
        for late, early in zip(drawn(rank + 3 * stride, 4), whole[3:7], strict=True):
            assert late[0] == early[0]
            assert same(late[1], early[1])


def test_one_worker_gives_what_the_training_process_would() -> None:
    alone = taken(iter(loader(StreamDataset(stream(), 3, 1), 0, False)), 7)
    beside = taken(iter(loader(StreamDataset(stream(), 3, 1), 1, False)), 7)
    for (epoch, batch), (other, likewise) in zip(alone, beside, strict=True):
        assert epoch == other
        assert same(batch, likewise)


def test_no_new_formulas_where_symbols_are_not_known() -> None:
    unknown = [replace(each, ink=((),) * len(each.caption)) for each in expressions(6)]
    made = TrainingStream(unknown, vocabulary(), Augmentation(synthetic=1.0), 4, 60_000, 1, 30)
    assert made.synthesizer is None
    assert not any(each.identifier.startswith("new") for batch in made.epoch(0) for each in batch)
