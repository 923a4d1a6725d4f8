from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inktex.core.errors import DataError
from inktex.core.rendering import (
    CANONICAL,
    MARGIN_PX,
    SYMBOL_PX,
    Rendering,
    draw_strokes,
    ink_channels,
    normalized_strokes,
    render_ink,
)
from inktex.core.trail import pen_trail
from inktex.training.augmentation import Augmentation, bend
from inktex.training.batches import (
    Drawing,
    collate,
    collate_compact,
    draw,
    ink_in_cells,
)
from inktex.training.inkset import Expression
from inktex.training.recognizer import STRIDE
from inktex.training.stream import drawn_sizes
from inktex.training.transformer_recognizer import holds_ink
from inktex.training.two_scale_encoder import CELL

from .synthetic import expression, expressions, images, vocabulary


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


def test_shifted_ink_begins_anywhere_in_the_margin_and_its_cells_with_it() -> None:
    corners = []
    for seed in range(40):
        drawing = draw(expression(0), Augmentation(shift=6.0), np.random.default_rng(seed))
        points = np.concatenate(drawing.strokes)
        corners.append(points.min(axis=0))
        assert (drawing.image[tuple(points.astype(int).T[::-1])] > 0).all()
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    assert (low >= MARGIN_PX - 6).all()
    assert (low < MARGIN_PX - 5).all()
    assert (high <= MARGIN_PX + 6).all()
    assert (high > MARGIN_PX + 5).all()
    with pytest.raises(DataError, match="shift must be from 0 to 8 pixels, found 9"):
        Augmentation(shift=9.0)


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


def test_braces_that_are_spared_take_no_step_and_no_ink() -> None:
    words = vocabulary()
    brief = replace(words, brief=True)
    made = expressions(6)
    drawings = [draw(each) for each in made]
    full, short = (collate(made, drawings, each) for each in (words, brief))
    assert short.inputs.shape[2] <= full.inputs.shape[2]
    spared = 0
    for row, each in enumerate(made):
        places = brief.written(each.caption)
        count = len(places)
        spared += len(each.caption) - count
        for of in (short.targets, short.inputs[:, :, 1:]):
            assert of[row, 0, :count].tolist() == full.targets[row, 0, places].tolist()
        assert short.targets[row, 0, count] == words.eos
        assert torch.equal(short.ink[row, :count], full.ink[row, places])
        assert (
            short.targets[row, 1, :count].tolist() == short.targets[row, 0, :count].tolist()[::-1]
        )
        assert torch.equal(
            short.ink[row, short.mirror[row, :count]], short.ink[row, :count].flip(0)
        )
    assert spared > 0


def test_an_expression_without_known_ink_makes_a_batch_too() -> None:
    made = expression(0)
    plain = Expression("plain", "", made.caption, made.strokes, ((),) * len(made.caption))
    drawing = draw(plain, Augmentation(), np.random.default_rng(0))
    batch = collate([plain], [drawing], vocabulary())
    assert not batch.ink.any()


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


def seeing(augmentation: Augmentation | None = None, seed: int = 0) -> Drawing:
    rng = np.random.default_rng(seed)
    return draw(expression(2), augmentation, rng, rendering=Rendering(trail=True))


def test_a_recognizer_that_sees_trails_is_shown_where_the_pen_went() -> None:
    drawing = seeing()
    assert drawing.trail is not None
    strokes = [stroke.astype(np.float64) for stroke in expression(2).strokes]
    wanted = ink_channels(strokes, Rendering(trail=True))
    np.testing.assert_array_equal([drawing.image, *drawing.trail], wanted)
    batch = collate([expression(2)], [drawing], vocabulary())
    height, width = drawing.image.shape
    assert batch.images.shape[:2] == (1, 4)
    np.testing.assert_allclose(batch.images[0, :, :height, :width] * 255, wanted, atol=1e-3)
    plain = collate([expression(2)], [draw(expression(2))], vocabulary())
    assert torch.equal(batch.images[:, :1], plain.images)
    assert batch.parts == plain.parts
    assert torch.equal(holds_ink(batch.images, CELL), holds_ink(plain.images, CELL))


def test_some_formulas_have_no_trail_and_images_never_have_one() -> None:
    shown = [seeing(Augmentation(untraced=0.5), seed).trail for seed in range(40)]
    with_trail = sum(trail is not None and trail.any() for trail in shown)
    assert 10 <= with_trail <= 30
    never = seeing(Augmentation(untraced=1.0)).trail
    assert never is not None
    assert not never.any()
    [image] = images(1)
    blank = draw(image, rendering=Rendering(trail=True)).trail
    assert blank is not None
    assert not blank.any()


def test_strokes_may_seem_to_be_written_from_their_end() -> None:
    for share, wanted in ((0.0, {(True, False)}), (1.0, {(False, True)}), (0.5, {(False, False)})):
        found = set()
        for seed in range(8):
            drawing = seeing(Augmentation(untraced=0, backwards=share), seed)
            assert drawing.trail is not None
            size, ends = drawing.image.shape, [each[::-1] for each in drawing.strokes]
            written, turned = pen_trail(drawing.strokes, *size), pen_trail(ends, *size)
            told = drawing.trail
            assert np.all((told == written) | (told == turned))  # each stroke one way or the other
            found.add((np.array_equal(told, written), np.array_equal(told, turned)))
        assert wanted <= found
        assert len(found) == 1 or share == 0.5


def test_trails_change_nothing_of_what_is_drawn() -> None:
    plain = draw(expression(2), Augmentation(), np.random.default_rng(0))
    assert plain.trail is None
    np.testing.assert_array_equal(seeing(Augmentation()).image, plain.image)


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


def test_the_parts_of_a_batch_are_all_its_rows_and_no_wider_than_they_need() -> None:
    """One row longer than a few parts, so that some hold one and some two."""
    made = expressions(7)
    batch = collate(made, [draw(each) for each in made], vocabulary())
    rows = [row for part in batch.parts for row in range(7)[part.rows]]
    assert rows == list(range(7))
    assert 1 < len(batch.parts) < 7
    for part in batch.parts:
        tokens = (batch.targets[part.rows] != 0).sum(dim=2)
        assert part.tokens == int(tokens.max())
        cells = holds_ink(batch.images[part.rows], CELL).sum(dim=1)
        assert int(cells.max()) <= part.cells < int(cells.max()) + 8
        assert part.cells % 8 == 0
