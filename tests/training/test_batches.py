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
    SYMBOL_PX,
    Rendering,
    draw_strokes,
    normalized_strokes,
    render_ink,
)
from inktex.training.augmentation import Augmentation, bend
from inktex.training.batches import (
    Batch,
    Buckets,
    Drawing,
    TrainingStream,
    collate,
    collate_compact,
    draw,
    drawn_sizes,
    evaluation_batches,
    ink_in_cells,
)
from inktex.training.inkset import Expression
from inktex.training.recognizer import STRIDE
from inktex.training.training_module import StreamDataset, loader
from inktex.training.transformer_recognizer import holds_ink
from inktex.training.two_scale_encoder import CELL

from .synthetic import expression, expressions, vocabulary


def test_what_is_drawn_is_what_the_recognizer_sees() -> None:
    made = expression(2)
    drawing = draw(made)
    np.testing.assert_array_equal(
        drawing.image, render_ink([stroke.astype(np.float64) for stroke in made.strokes])
    )
    for stroke in drawing.strokes:
        x, y = (stroke + 0.5).astype(int).T
        assert (drawing.image[y, x] > 0).all()


def test_augmented_drawings_follow_their_seed_and_scale() -> None:
    made = expression(0)

    def drawn(seed: int, scale: float = 1.0) -> Drawing:
        return draw(made, Augmentation(), np.random.default_rng(seed), scale)

    np.testing.assert_array_equal(drawn(1).image, drawn(1).image)
    assert drawn(1).image.shape != drawn(2).image.shape or (drawn(1).image != drawn(2).image).any()
    small, large = drawn(1, 0.7).image.shape, drawn(1, 1.4).image.shape
    assert 1.6 < (large[1] - 16) / (small[1] - 16) < 2.4
    for stroke in drawn(1).strokes:  # the strokes are where the ink is
        assert drawn(1).image[tuple(stroke.astype(int).T[::-1])].all()


def test_the_ink_of_a_token_lies_in_the_cells_it_crosses() -> None:
    image = np.zeros((32, 48), np.uint8)
    bar = np.array([[4.0, 12.0], [36.0, 12.0]])  # along the second row of cells
    dot = np.array([[41.0, 30.0]])
    ink = ink_in_cells(Drawing(image, [bar, dot]), [(0,), (), (1,), (0, 1)], 32, 48)
    assert ink.shape == (4, 4 * 6)
    assert ink.dtype == np.float32
    rows = ink.reshape(4, 4, 6)
    np.testing.assert_array_equal(rows[0, 1] > 0, [True, True, True, True, True, False])
    assert rows[0, 1].tolist() == pytest.approx([4, 8, 8, 8, 4, 0])  # pixels
    assert rows[0].sum() == rows[0, 1].sum()
    assert not rows[1].any()
    assert np.argwhere(rows[2]).tolist() == [[3, 5]]
    np.testing.assert_array_equal(rows[3], rows[0] + rows[2])


def test_ink_beyond_the_edge_counts_in_the_last_cell() -> None:
    stroke = np.array([[-9.0, -9.0], [60.0, 60.0]])
    ink = ink_in_cells(Drawing(np.zeros((16, 16), np.uint8), [stroke]), [(0,)], 16, 16)
    assert ink.shape == (1, 4)
    assert ink.sum() == pytest.approx(69 * 2**0.5, abs=2)


def test_a_batch_is_padded_to_one_size_and_read_both_ways() -> None:
    words = vocabulary()
    made = expressions(5)
    drawings = [draw(each) for each in made]
    batch = collate(made, drawings, words)
    _, _, height, width = batch.images.shape
    assert height % STRIDE == width % 32 == 0
    assert height - STRIDE < max(each.image.shape[0] for each in drawings) <= height
    assert width - 32 < max(each.image.shape[1] for each in drawings) <= width
    assert batch.images.dtype == torch.float32
    assert (
        batch.inputs.shape == batch.targets.shape == (5, 2, 1 + max(len(e.caption) for e in made))
    )
    for row, (each, drawing) in enumerate(zip(made, drawings, strict=True)):
        image = batch.images[row, 0].numpy()
        h, w = drawing.image.shape
        np.testing.assert_allclose(image[:h, :w], drawing.image / 255, atol=1e-6)
        assert image.sum() == pytest.approx(image[:h, :w].sum())
        caption, length = list(each.caption), len(each.caption)
        for direction, tokens, start, end in (
            (0, caption, words.sos, words.eos),
            (1, caption[::-1], words.eos, words.sos),
        ):
            inputs = batch.inputs[row, direction].tolist()
            targets = batch.targets[row, direction].tolist()
            assert inputs[: length + 1] == [start, *words.encode(tokens)]
            assert targets[: length + 1] == [*words.encode(tokens), end]
            assert set(inputs[length + 1 :]) | set(targets[length + 1 :]) <= {words.pad}


def test_the_mirror_finds_the_ink_of_tokens_read_from_the_right() -> None:
    words = vocabulary()
    made = expressions(6)
    batch = collate(made, [draw(each) for each in made], words)
    cells = batch.images.shape[2] * batch.images.shape[3] // CELL**2
    assert batch.ink.shape == (*batch.mirror.shape, cells)
    for row in range(len(made)):
        of_token: dict[int, list[torch.Tensor]] = {}
        for step, token in enumerate(batch.targets[row, 0].tolist()):
            of_token.setdefault(token, []).append(batch.ink[row, step])
        mirrored = batch.ink[row, batch.mirror[row]]
        seen: dict[int, list[torch.Tensor]] = {token: [] for token in of_token}
        for step, token in enumerate(batch.targets[row, 1].tolist()):
            if token in (words.sos, words.pad):
                assert not mirrored[step].any()
            else:
                seen[token].append(mirrored[step])
        for token, inks in seen.items():
            if token not in (words.eos, words.pad):
                assert torch.equal(torch.stack(inks[::-1]), torch.stack(of_token[token]))
    assert batch.ink.sum() > 0


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
    return all(torch.equal(a, b) for a, b in tensors) and one.inked == other.inked


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


def test_an_expression_without_known_ink_makes_a_batch_too() -> None:
    made = expression(0)
    plain = Expression("plain", "", made.caption, made.strokes, ((),) * len(made.caption))
    drawing = draw(plain, Augmentation(), np.random.default_rng(0))
    batch = collate([plain], [drawing], vocabulary())
    assert not batch.ink.any()


def images(count: int) -> list[Expression]:
    """The made formulas as images, as an import of images gives them."""
    return [
        Expression(
            f"image-{number}",
            each.writer,
            each.caption,
            (),
            ((),) * len(each.caption),
            draw(each).image,
        )
        for number, each in enumerate(expressions(count))
    ]


def test_an_image_is_drawn_as_it_is() -> None:
    [made] = images(1)
    drawing = draw(made)
    np.testing.assert_array_equal(drawing.image, draw(expression(0)).image)
    assert drawing.strokes == []
    np.testing.assert_array_equal(drawn_sizes([made]), drawn_sizes([expression(0)]))
    assert draw(made, scale=1.5).image.shape[1] > 1.3 * drawing.image.shape[1]


def test_augmented_images_follow_their_seed_and_scale() -> None:
    made = images(3)[2]

    def drawn(seed: int, scale: float = 1.0) -> Drawing:
        return draw(made, Augmentation(), np.random.default_rng(seed), scale)

    np.testing.assert_array_equal(drawn(1).image, drawn(1).image)
    assert drawn(1).image.shape != drawn(2).image.shape or (drawn(1).image != drawn(2).image).any()
    small, large = drawn(1, 0.7).image.shape, drawn(1, 1.4).image.shape
    assert 1.6 < (large[1] - 16) / (small[1] - 16) < 2.4


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


def test_the_ink_path_draws_the_numbers_it_always_drew() -> None:
    """A resumed training sees the same bent ink as before images came."""
    drawing = draw(expression(0), Augmentation(), np.random.default_rng(3), 1.1)
    rng = np.random.default_rng(3)
    strokes = [stroke.astype(np.float64) for stroke in expression(0).strokes]
    symbols = [indices for indices in expression(0).ink if indices]
    bent = bend(normalized_strokes(strokes), symbols, rng, Augmentation())
    own = np.exp(rng.normal(0, 0.06))
    wanted = normalized_strokes(bent, SYMBOL_PX * 1.1 * own)
    for one, other in zip(drawing.strokes, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(drawing.image, draw_strokes(wanted, rng.uniform(1.2, 2.6)))


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


def test_an_image_comes_to_the_scale_that_is_asked_for() -> None:
    strokes = [stroke.astype(np.float64) for stroke in expression(0).strokes]
    caption = expression(0).caption
    kept = render_ink(strokes, CANONICAL)
    made = Expression("kept", "", caption, (), ((),) * len(caption), kept, CANONICAL)
    np.testing.assert_array_equal(draw(made, rendering=CANONICAL).image, kept)
    found, wanted = draw(made).image, draw(expression(0)).image
    assert np.abs(np.subtract(found.shape, wanted.shape)).max() <= 2
    assert found.sum() == pytest.approx(float(wanted.sum()), rel=0.15)
    height, width = drawn_sizes([made])[0]
    assert abs(height - found.shape[0]) <= 8
    assert abs(width - found.shape[1]) <= 8
    bent = draw(made, Augmentation(), np.random.default_rng(0)).image
    assert 0.5 < bent.shape[1] / wanted.shape[1] < 1.8


def test_what_travels_is_compact_and_comes_out_the_same() -> None:
    made = expressions(5)
    batch = collate(made, [draw(each) for each in made], vocabulary())
    small = collate_compact(made, [draw(each) for each in made], vocabulary())
    assert small.images.element_size() == 1
    assert small.ink.element_size() == 2
    back = small.expanded()
    assert torch.equal(back.images, batch.images)
    torch.testing.assert_close(back.ink, batch.ink, rtol=1e-3, atol=1e-3)
    assert all(torch.equal(*each) for each in zip(back[1:3], batch[1:3], strict=True))
    assert small.inked == int(holds_ink(batch.images, CELL).sum(dim=1).max())


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
