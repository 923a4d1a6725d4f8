from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from inktex.core.errors import DataError
from inktex.training.batches import Batch
from inktex.training.mutual_learning import (
    MutualLearning,
    aligned_pairs,
    misaligned_pairs,
)
from inktex.training.objectives import CrossEntropy, divergence
from inktex.training.two_scale_encoder import CELL

from . import recurrent
from .synthetic import expressions

VOCABULARY = 6


def two_captions() -> Batch:
    """Of 2 and 3 tokens: steps 0 and 1 of the first, 0 to 2 of the second write tokens."""
    targets = [
        [[3, 4, 2, 0], [4, 3, 1, 0]],
        [[5, 3, 4, 2], [4, 3, 5, 1]],
    ]
    nothing = torch.zeros(0)
    mirror = torch.tensor([[1, 0, 3, 3], [2, 1, 0, 3]])
    return Batch(
        images=nothing,
        inputs=nothing,
        targets=torch.tensor(targets),
        ink=nothing,
        mirror=mirror,
        parts=(),
    )


def labels() -> Tensor:
    """As logits [2, 4, 2]: which caption, which step."""
    rows, steps = torch.meshgrid(torch.arange(2.0), torch.arange(4.0), indexing="ij")
    return torch.stack([rows, steps], dim=2)


def pairs(found: tuple[Tensor, Tensor]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    left, right = (each.int().tolist() for each in found)
    return [(tuple(one), tuple(other)) for one, other in zip(left, right, strict=True)]


def test_aligned_steps_write_the_same_token() -> None:
    found = pairs(aligned_pairs(labels(), labels(), two_captions()))
    assert found == [
        ((0, 0), (0, 1)),
        ((0, 1), (0, 0)),
        ((1, 0), (1, 2)),
        ((1, 1), (1, 1)),
        ((1, 2), (1, 0)),
    ]
    targets = two_captions().targets
    for (row, step), (other, partner) in found:
        assert row == other
        assert targets[row, 0, step] == targets[row, 1, partner]


def test_the_released_pairs_are_as_its_code_makes_them() -> None:
    """Time first, first steps dropped, the right turned around, then what is padding left out."""
    found = pairs(misaligned_pairs(labels(), labels(), two_captions()))
    assert found == [
        ((0, 1), (1, 3)),
        ((1, 1), (0, 2)),
        ((0, 2), (1, 2)),
        ((1, 2), (0, 1)),
        ((1, 3), (1, 1)),
    ]


def test_decoders_that_agree_on_every_token_diverge_only_when_misaligned() -> None:
    torch.manual_seed(0)
    one = two_captions()
    left, right = torch.randn(2, 4, VOCABULARY), torch.randn(2, 4, VOCABULARY)
    for row, length in ((0, 2), (1, 3)):
        for step in range(length):
            right[row, length - 1 - step] = left[row, step]
    agreed = divergence(*aligned_pairs(left, right, one), 4.0)
    assert agreed.item() == pytest.approx(0, abs=1e-6)
    assert divergence(*misaligned_pairs(left, right, one), 4.0) > 0.1
    other = divergence(*aligned_pairs(left, left, one), 4.0)
    assert other > 0.1


def test_the_divergence_is_symmetric_and_grows_with_the_temperature_squared() -> None:
    left, right = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    p = 1 / (1 + math.exp(-2.0 / 4))
    there = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    back = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    expected = 16 * (there + back) / 2 / 2  # the second of the two tokens adds nothing
    assert divergence(left, right, 4.0).item() == pytest.approx(expected, rel=1e-4)
    assert divergence(right, left, 4.0).item() == pytest.approx(expected, rel=1e-4)
    assert divergence(left[:0], right[:0], 4.0) == 0


def test_the_parts_are_both_directions_and_their_divergence() -> None:
    network, one = recurrent.network("abm"), recurrent.batch()
    assert network.mirror is not None
    with torch.no_grad():
        total, parts = MutualLearning(weight=0.3)(network, one)
        features = network.encoder(one.images)
        for name, decoder, direction in (
            ("tokens", network.decoder, 0),
            ("mirrored", network.mirror, 1),
        ):
            logits, _ = decoder(one.inputs[:, direction], decoder.remember(features))
            log_probs = torch.log_softmax(logits, dim=2)
            targets = one.targets[:, direction]
            of_targets = log_probs.gather(2, targets[:, :, None])[:, :, 0]
            torch.testing.assert_close(parts[name], -of_targets[targets != 0].mean())
        assert parts["mutual"] > 0
        expected = parts["tokens"] + parts["mirrored"] + 0.3 * parts["mutual"]
        torch.testing.assert_close(total, expected)
        apart, same = MutualLearning(weight=0.0)(network, one)
        torch.testing.assert_close(apart, parts["tokens"] + parts["mirrored"])
        torch.testing.assert_close(same["mutual"], parts["mutual"])
        released = MutualLearning(aligned=False)(network, one).parts["mutual"]
        assert not torch.allclose(released, parts["mutual"])


def test_without_a_mirror_it_is_the_plain_cross_entropy() -> None:
    network, one = recurrent.network("abm", model__mirror="false"), recurrent.batch()
    with torch.no_grad():
        total, parts = MutualLearning()(network, one)
        torch.testing.assert_close(total, CrossEntropy()(network, one).total)
    assert list(parts) == ["tokens"]


def test_both_decoders_learn_from_each_other() -> None:
    network = recurrent.network("abm")
    assert network.mirror is not None
    MutualLearning()(network, recurrent.batch()).parts["mutual"].backward()  # type: ignore[no-untyped-call]
    for decoder in (network.decoder, network.mirror):
        assert decoder.classifier.weight.grad is not None
        assert decoder.classifier.weight.grad.abs().max() > 0


def test_both_directions_are_learnt_by_heart() -> None:
    network = recurrent.network("abm", model__dropout="0")
    history = recurrent.learn(network, MutualLearning(), 60)
    assert all(math.isfinite(value) for row in history for value in row.values())
    for part in ("tokens", "mirrored", "mutual"):
        assert history[-1][part] < 0.3 * history[0][part]


def test_the_alignment_is_the_attention_off_the_ink_of_both_decoders() -> None:
    """Summed up token by token; a cell of these decoders is four of the batch's."""
    network, one = recurrent.network("abm"), recurrent.batch(3)
    assert network.mirror is not None
    height, width = (side // CELL for side in one.images.shape[2:])
    with torch.no_grad():
        features = network.encoder(one.images)
        totals = []
        for direction, decoder in enumerate((network.decoder, network.mirror)):
            _, attention = decoder(one.inputs[:, direction], decoder.remember(features))
            found = []
            for row, made in enumerate(expressions(3)):
                order = -1 if direction else 1
                inks = list(one.ink[row, : len(made.caption)])[::order]
                for step, (known, ink) in enumerate(zip(made.ink[::order], inks, strict=True)):
                    if known:
                        fine = (ink.reshape(height, width) > 0).float()
                        own = torch.nn.functional.max_pool2d(fine[None], 2)[0] > 0
                        found.append(-math.log(float(attention[row, step][own].sum()) + 1e-6))
            totals.append(sum(found) / len(found))
        total, parts = MutualLearning(alignment=0.7)(network, one)
        without = MutualLearning()(network, one)
        alone = CrossEntropy(alignment=0.5)(network, one)
    assert parts["alignment"].item() == pytest.approx(sum(totals) / 2, rel=1e-3)
    assert "alignment" not in without.parts
    torch.testing.assert_close(total, without.total + 0.7 * parts["alignment"])
    assert alone.parts["alignment"].item() == pytest.approx(totals[0], rel=1e-3)
    torch.testing.assert_close(alone.total, parts["tokens"] + 0.5 * alone.parts["alignment"])


def test_aligned_decoders_learn_to_look_at_the_ink() -> None:
    network = recurrent.network("abm", model__dropout="0")
    history = recurrent.learn(network, MutualLearning(alignment=0.5), 60)
    assert history[-1]["alignment"] < 0.5 * history[0]["alignment"]
    assert history[-1]["tokens"] < 0.3 * history[0]["tokens"]


@pytest.mark.parametrize(("weight", "temperature"), [(-0.1, 4.0), (0.5, 0.0)])
def test_a_bad_setting_says_what_was_expected(weight: float, temperature: float) -> None:
    with pytest.raises(DataError, match="expected a weight of 0 or more and a temperature"):
        MutualLearning(weight, temperature)
