from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from inktex.core.errors import DataError
from inktex.training.augmentation import Augmentation
from inktex.training.batches import draw
from inktex.training.contrastive import (
    Contrast,
    ContrastiveTask,
    barlow_twins,
    effective_rank,
    info_nce,
    patch_means,
    spread,
)
from inktex.training.convolutional_encoder import ConvolutionalEncoder
from inktex.training.dense_encoder import DenseEncoder
from inktex.training.inkset import Expression
from inktex.training.two_scale_encoder import TwoScaleEncoder
from inktex.training.views import View, ViewStream, view

from .synthetic import expressions

CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def tiny_task(**settings: float) -> ContrastiveTask:
    torch.manual_seed(0)
    return ContrastiveTask(
        DenseEncoder(4, 4, (1, 1, 1), 0.5, 0.0),
        Contrast(projection=8, **settings),  # type: ignore[arg-type]
    )


def tiny_views() -> tuple[View, ...]:
    stream = ViewStream(expressions(6), Augmentation(), (0.7, 1.4), 6, 100_000, 1)
    return next(stream.batches())[1]


def test_barlow_twins_by_hand() -> None:
    # over two drawings, both features of one view rise, and one of the other view falls
    first = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    second = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    # C = [[1, -1], [1, -1]]: (1 - 1)^2 + (1 - -1)^2, and twice 1 beside the diagonal
    found = barlow_twins(first, second, redundancy=0.25)
    assert found.item() == pytest.approx(4 + 0.25 * 2, rel=1e-4)
    moved = barlow_twins(3 * first + 7, second - 100, redundancy=0.25)
    assert moved.item() == pytest.approx(4.5, rel=1e-3)


def test_barlow_twins_is_zero_for_features_that_agree_and_differ_from_each_other() -> None:
    assert barlow_twins(CORNERS, 2 * CORNERS).item() == pytest.approx(0, abs=1e-6)
    assert barlow_twins(CORNERS, CORNERS.flip(1)).item() == pytest.approx(2 + 2 * 5e-3, rel=1e-4)
    collapsed = torch.ones(4, 2)
    assert barlow_twins(collapsed, collapsed).item() == pytest.approx(2)


def test_info_nce_by_hand() -> None:
    kept = torch.ones(1, 2, dtype=torch.bool)
    first = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    # scores [[2, 0], [0, 2]]: each finds itself, with odds of e^2 to 1
    found = info_nce(first, 5 * first, kept, temperature=0.5)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)))
    # scores [[2, 2], [0, 0]]: from the first view an even chance; back, e^2 to 1 and 1 to e^2
    second = torch.tensor([[[2.0, 0.0], [3.0, 0.0]]])
    back = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    found = info_nce(first, second, kept, temperature=0.5)
    assert found.item() == pytest.approx((math.log(2) + back) / 2)


def test_patches_that_are_left_out_are_neither_asked_nor_offered() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 4, 3)
    kept = torch.tensor([[True, False, True, True]])
    few = info_nce(first[:, [0, 2, 3]], second[:, [0, 2, 3]], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(info_nce(first, second, kept), few)
    assert info_nce(first, second, torch.zeros_like(kept)).item() == 0


def test_negatives_are_patches_of_the_same_image() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 4, 3)
    kept = torch.ones(2, 4, dtype=torch.bool)
    each = [info_nce(first[i : i + 1], second[i : i + 1], kept[:1]) for i in (0, 1)]
    torch.testing.assert_close(info_nce(first, second, kept), (each[0] + each[1]) / 2)


def test_patches_overlap_by_half_and_cover_the_box() -> None:
    columns = torch.arange(8.0).expand(1, 1, 8, 8)
    features = torch.cat([columns, columns.transpose(2, 3)], dim=1)
    # six cells wide: patches of two cells, one cell apart
    found = patch_means(features, torch.tensor([[1.0, 2.0, 7.0, 8.0]]), 5).reshape(5, 5, 2)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([1.5, 2.5, 3.5, 4.5, 5.5]))
    torch.testing.assert_close(found[:, 3, 1], torch.tensor([2.5, 3.5, 4.5, 5.5, 6.5]))
    # three cells wide: one cell, half a cell apart
    found = patch_means(features, torch.tensor([[0.0, 0.0, 3.0, 3.0]]), 5).reshape(5, 5, 2)
    torch.testing.assert_close(found[4, :, 0], torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]))
    whole = patch_means(features, torch.tensor([[0.0, 0.0, 8.0, 8.0]]), 1)
    torch.testing.assert_close(whole, torch.full((1, 1, 2), 3.5))


@pytest.mark.parametrize(("x", "y", "patch"), [(0.5, 0.5, 12), (0.17, 0.83, 20), (0.83, 0.33, 9)])
def test_a_mark_lands_in_the_same_patch_of_every_view(x: float, y: float, patch: int) -> None:
    """Whatever the size of the drawing, and of the paper around it."""
    corners = [np.array([(100 * a, 60 * b)]) for a in (0, 1) for b in (0, 1)]
    cross = np.array([(-4, -4), (4, 4), (-4, 4), (4, -4), (-4, -4)])
    mark = cross + np.array([100 * x, 60 * y])
    strokes = tuple(stroke.astype(np.float32) for stroke in (*corners, mark))
    marked = Expression("marked", "", ("x",), strokes, ((0, 1, 2, 3, 4),))
    for scale in (0.7, 1.0, 1.4):
        for paper in (16, 700):
            made = view([draw(marked, scale=scale).image, np.ones((16, paper), np.uint8)])
            ink = patch_means(made.images, made.boxes, 5)[0, :, 0]
            assert int(ink.argmax()) == patch


def test_rank_and_spread_tell_a_collapse() -> None:
    cube = torch.cat([torch.eye(3), -torch.eye(3)])
    assert effective_rank(cube) == pytest.approx(3, rel=1e-5)
    assert spread(cube) == pytest.approx(1)
    line = torch.arange(5.0)[:, None] * torch.tensor([1.0, 2.0, 3.0])
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.ones(4, 3)) == pytest.approx(1)
    assert spread(torch.ones(4, 3)) == 0
    assert 0 < spread(cube + 10) < 0.1


@pytest.mark.parametrize(
    ("encoder", "channels", "early"),
    [
        (DenseEncoder(4, 4, (2, 1, 1)), 9, 6),
        (TwoScaleEncoder((4, 8, 12, 16), (1, 1, 1), 20), 20, 8),
        (ConvolutionalEncoder((4, 6, 8, 12), (1, 1, 1, 1)), 12, 6),
    ],
)
def test_early_features_are_found_in_every_encoder(
    encoder: torch.nn.Module, channels: int, early: int
) -> None:
    """The last at stride 4: in the dense encoder after the transition has narrowed them."""
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    task = ContrastiveTask(encoder, Contrast(projection=0))
    assert encoder.training
    assert all(torch.equal(before[name], each) for name, each in encoder.state_dict().items())
    images = torch.zeros(3, 1, 32, 64)
    images[:, :, 4:28, 8:50] = torch.rand(3, 1, 24, 42)
    boxes = torch.tensor([[8.0, 4.0, 50.0, 28.0]]).expand(3, 4)
    pooled, patches, inked = task.embed(View(images, boxes))
    assert pooled.shape == (3, channels)
    assert patches.shape == (3, 25, early)
    assert inked.all()


def test_an_encoder_without_such_a_stride_is_refused() -> None:
    with pytest.raises(DataError, match=r"early_stride: expected a stride .*DenseEncoder.* 32"):
        tiny_task(early_stride=32)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scale": (1.4, 0.7)}, "contrast.scale must be a range"),
        ({"local": 1.5}, "contrast.local must be a share"),
        ({"temperature": 0.0}, "contrast.temperature must be above 0"),
        ({"grid": 0}, "contrast.grid 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float], told: str) -> None:
    with pytest.raises(DataError, match=told):
        Contrast(**settings)  # type: ignore[arg-type]


def test_features_are_pooled_over_ink_only() -> None:
    task = tiny_task().eval()
    made = tiny_views()[0]
    wider = View(torch.nn.functional.pad(made.images, (0, 160)), made.boxes)
    pooled = task.embed(made).pooled
    torch.testing.assert_close(task.embed(wider).pooled, pooled)


def test_both_losses_are_weighed_and_teach_the_encoder() -> None:
    task, views = tiny_task(local=0.6), tiny_views()
    total, parts = task(views, 0.0)
    torch.testing.assert_close(total, 0.6 * parts["local"] + 0.4 * parts["global"])
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    losses: list[Tensor] = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(task(views, 0.0).total)
        losses[-1].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert all(each.grad is not None for each in task.encoder.parameters() if each.ndim > 1)
    assert losses[-1] < 0.9 * losses[0]


def test_only_the_global_loss_reaches_late_layers() -> None:
    task = tiny_task(local=1.0)
    task(tiny_views(), 0.0).total.backward()
    grown = {name: each.grad for name, each in task.encoder.named_parameters()}
    assert grown["stem.0.weight"] is not None
    assert grown["stem.0.weight"].any()
    last = grown["blocks.4.grow.0.weight"]
    assert last is None or not last.any()


def test_measures_are_means_over_batches_and_ranks_over_all() -> None:
    task = tiny_task().eval()
    views = tiny_views()
    found = task.measure([views, views])
    with torch.no_grad():
        losses = task(views, 0.0).parts
    assert found["validation_local"] == pytest.approx(float(losses["local"]), rel=1e-4)
    assert found["validation_global"] == pytest.approx(float(losses["global"]), rel=1e-4)
    assert 1 < found["rank"] <= 5
    assert 0 < found["spread"] < 1
