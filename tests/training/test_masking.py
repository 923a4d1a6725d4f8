from __future__ import annotations

import pytest
import torch

from inktex.core.errors import DataError
from inktex.training.augmentation import Augmentation
from inktex.training.masking import Masking, MaskingTask, draw_masks
from inktex.training.transformer_recognizer import holds_ink
from inktex.training.views import View, ViewStream

from .synthetic import expressions
from .tiny_pretraining import encoder


def task(**settings: float) -> MaskingTask:
    made = encoder()
    torch.manual_seed(0)
    return MaskingTask(made, Masking(**settings))  # type: ignore[arg-type]


def views() -> tuple[View, ...]:
    # large symbols, so that each of them lies in several cells
    stream = ViewStream(expressions(8), Augmentation(), (2.0, 2.0), 8, 200_000, 1)
    return next(stream.batches(0, 1))[1]


def test_the_share_follows_the_schedule() -> None:
    schedule = Masking(start=0.2, end=0.6)
    assert [schedule.share(each) for each in (0.0, 0.25, 1.0)] == pytest.approx([0.2, 0.3, 0.6])
    fixed = Masking(start=0.4, end=0.4)
    assert {fixed.share(each) for each in (0.0, 0.5, 1.0)} == {0.4}


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_cannot_be_is_refused(name: str, share: float) -> None:
    with pytest.raises(DataError, match=rf"masking.{name} must be a share between 0 and 1"):
        Masking(**{name: share})  # type: ignore[arg-type]


def test_masks_are_the_share_of_the_inked_cells() -> None:
    torch.manual_seed(0)
    inked = torch.zeros(5, 40, dtype=torch.bool)
    inked[0, :20] = inked[1, 5:15] = inked[2, 7] = inked[3, 3:5] = True
    for share, counts in (
        (0.15, [3, 2, 0, 1, 0]),
        (0.6, [12, 6, 0, 1, 0]),
        (0.99, [19, 9, 0, 1, 0]),
    ):
        masked = draw_masks(inked, share)
        assert masked.sum(dim=1).tolist() == counts
        assert not (masked & ~inked).any()


def test_every_inked_cell_may_be_masked_and_a_generator_repeats_it() -> None:
    inked = torch.zeros(500, 12, dtype=torch.bool)
    inked[:, 2:10] = True
    masked = draw_masks(inked, 0.5, torch.Generator().manual_seed(1))
    shares = masked.float().mean(dim=0)[2:10]
    assert ((shares - 0.5).abs() < 0.1).all()
    assert torch.equal(masked, draw_masks(inked, 0.5, torch.Generator().manual_seed(1)))
    assert not torch.equal(masked, draw_masks(inked, 0.5, torch.Generator().manual_seed(2)))


def test_the_loss_masks_what_the_schedule_says() -> None:
    made, seen = task(start=0.2, end=0.8), views()
    count = holds_ink(seen[0].images, 16).sum(dim=1)
    for progress, share in ((0.0, 0.2), (0.5, 0.5), (1.0, 0.8)):
        losses = made(seen, progress)
        assert losses.parts["masked"].item() == pytest.approx(share)
        found, wanted = made.reconstruct(seen[0].images, share)
        expected = torch.minimum((share * count).round().clamp(min=1), count - 1).sum()
        assert len(found) == len(wanted) == expected
        assert torch.isfinite(losses.total)


def test_ink_is_wiped_off_masked_cells_only() -> None:
    images = torch.rand(2, 1, 32, 48)
    masked = torch.zeros(2, 6, dtype=torch.bool)
    masked[0, 1] = masked[1, 5] = True
    wiped = task().wiped(images, masked)
    assert not wiped[0, 0, :16, 16:32].any()
    assert not wiped[1, 0, 16:, 32:].any()
    assert (wiped != images).sum() == 2 * 16 * 16


@pytest.mark.parametrize("wipe", [True, False])
def test_neighbours_tell_nothing_of_wiped_ink(wipe: bool) -> None:
    """Other ink in the masked cells: the same answer, unless only features are hidden."""
    made, images = task(wipe=wipe).eval(), views()[0].images
    inked = holds_ink(images, 16)
    masked = draw_masks(inked, 0.5, torch.Generator().manual_seed(3))
    other = torch.where(made.wiped(torch.ones_like(images), masked) == 0, 1.0, images)
    found, wanted = made.reconstruct(images, 0.5, torch.Generator().manual_seed(3))
    changed, wanted_then = made.reconstruct(other, 0.5, torch.Generator().manual_seed(3))
    assert (wanted - wanted_then).abs().amax() > 0.1
    assert torch.equal(found, changed) == wipe


def test_targets_are_standardised_over_inked_cells() -> None:
    made, images = task(), views()[0].images
    inked = holds_ink(images, 16)
    whole = made.encoder.trunk.eval()(images).flatten(2).transpose(1, 2)[inked]
    _, wanted = made.reconstruct(images, 0.5, torch.Generator().manual_seed(0))
    masked = draw_masks(inked, 0.5, torch.Generator().manual_seed(0))
    mine = made.encoder.trunk(images).flatten(2).transpose(1, 2)[masked]
    deviation = whole.std(dim=0, correction=0) + 1e-5
    expected = (mine - whole.mean(dim=0)) / deviation
    torch.testing.assert_close(wanted, expected, atol=1e-4, rtol=1e-4)


def test_masked_cells_are_told_better_than_by_their_mean_after_some_steps() -> None:
    made, seen = task(), views()
    before = made.eval().measure([seen])["explained"]
    made.train()
    trunk = {name: each.clone() for name, each in made.encoder.trunk.state_dict().items()}
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        made(seen, 1.0).total.backward()
        optimizer.step()
    after = made.eval().measure([seen])["explained"]
    assert before < 0.05
    assert after > 0.15
    assert after == made.measure([seen])["explained"]  # always the same masks
    # what makes the targets has learnt nothing, not even a running mean
    assert all(
        torch.equal(trunk[name], each) for name, each in made.encoder.trunk.state_dict().items()
    )


def test_drawings_of_one_cell_cost_nothing() -> None:
    dot = torch.zeros(2, 1, 16, 32)
    dot[:, :, 4:8, 4:8] = 1.0
    losses = task()((View(dot, torch.zeros(2, 4)),), 0.5)
    assert losses.total.item() == 0
    losses.total.backward()
