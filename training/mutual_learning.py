"""Two decoders that read in opposite directions and learn from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..core.errors import DataError
from .batches import Batch
from .objectives import Losses, alignment_loss, divergence, from_the_right, ink_of, token_loss
from .recurrent_recognizer import RecurrentRecognizer
from .settings import added, check_weights


@dataclass(frozen=True)
class MutualLearning:
    """The next token in both directions, and that both decoders expect the same.

    After ABM (Bian et al., 2022, arXiv:2112.03603). Both decoders are asked for every token of the
    caption, the one knowing all before it and the other all behind it; their softened answers are
    drawn together, and gradients flow to both.

    The parts:
        tokens: cross-entropy of the next token from left to right, nats, mean over tokens
        mirrored: the same from right to left
        mutual: (KL(left || right) + KL(right || left)) / 2 at the temperature, times its square,
            mean over tokens; the released code has the first of the two only
        alignment: as `objectives.alignment_loss`, mean of both decoders; where it has a weight

    Attributes:
        weight: of the mutual part; 0 only watches it.
        temperature: by which logits are divided, 1 or more.
        aligned: compare what the decoders say of the same token of the same caption. The released
            code does not: it drops the first answer of both, turns the right-to-left batch
            around, padding and all, and pairs whatever is then at the same place.
        alignment: weight of the part that pulls the attention of both onto the ink of each token;
            not in the paper. It needs data that tells the strokes of each symbol.
    """

    weight: float = 0.5
    temperature: float = 4.0
    aligned: bool = True
    alignment: float = added(0.0, before=0.0)

    def __post_init__(self) -> None:
        check_weights(self, "alignment")
        if self.weight < 0 or self.temperature < 1:
            raise DataError(
                f"expected a weight of 0 or more and a temperature of 1 or more, found "
                f"{self.weight} and {self.temperature}"
            )

    def __call__(self, network: RecurrentRecognizer, batch: Batch) -> Losses:
        """Both directions over the same features; without a mirror, left to right only."""
        features = network.encoder(batch.images)
        left, attention = network.decoder(batch.inputs[:, 0], network.decoder.remember(features))
        tokens = token_loss(left, batch.targets[:, 0])
        total, parts = tokens, {"tokens": tokens}
        attentions = [attention]
        if network.mirror is not None:
            right, attention = network.mirror(batch.inputs[:, 1], network.mirror.remember(features))
            attentions.append(attention)
            mirrored = token_loss(right, batch.targets[:, 1])
            pair = aligned_pairs if self.aligned else misaligned_pairs
            mutual = divergence(*pair(left.float(), right.float(), batch), self.temperature)
            total = total + mirrored + self.weight * mutual
            parts |= {"mirrored": mirrored, "mutual": mutual}
        if self.alignment:
            parts["alignment"] = _alignment(attentions, batch)
            total = total + self.alignment * parts["alignment"]
        return Losses(total, parts)


def _alignment(attentions: Sequence[Tensor], batch: Batch) -> Tensor:
    """attentions [b, t, rows, columns] from left to right and, where there is one, from right to
    left -> their `alignment_loss`"""
    ink = ink_of(batch, *attentions[0].shape[2:])
    mirrored = ink.gather(1, batch.mirror[:, :, None].expand(-1, -1, ink.shape[2]))
    return alignment_loss(
        (attention.flatten(2), own)
        for attention, own in zip(attentions, (ink, mirrored), strict=False)
    )


def aligned_pairs(left: Tensor, right: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """What both decoders say of the same token of the same caption, see `from_the_right`.

    Args:
        left, right: logits [b, t, vocabulary] of the two decoders.

    Returns:
        logits [tokens, vocabulary] of both.
    """
    said, written = from_the_right(right, batch.mirror, batch.targets[:, 0])
    return left[written], said[written]


def misaligned_pairs(left: Tensor, right: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The pairs of the released code, shapes as those of `aligned_pairs`: step t + 1 goes with
    the one that stands there when time is turned around, and where captions of different lengths
    meet in a batch, with one of another caption."""
    later_left, later_right = left[:, 1:], right[:, 1:].flip(1)
    of_left = batch.targets[:, 0, 1:] != 0
    of_right = (batch.targets[:, 1, 1:] != 0).flip(1)
    # time first, as the released code lays out its batches
    return (
        later_left.transpose(0, 1)[of_left.T],
        later_right.transpose(0, 1)[of_right.T],
    )
