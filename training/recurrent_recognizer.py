"""The recurrent recognizer as a network: encoder, decoder, and the second decoder that only
training sees."""

from __future__ import annotations

from torch import Tensor, nn

from ..core.interface import GraphSpec, Interface, StateSpec, TensorSpec
from .recognizer import Recognizer
from .recurrent_decoder import Memory, RecurrentDecoder, State


class RecurrentRecognizer(Recognizer):
    """A convolutional encoder and a recurrent decoder that looks at all its features.

    No cell is left out: paper beside a formula reads as paper, in training and in use.

    Attributes:
        encoder: images [b, image_channels, h, w] -> features [b, channels, h/16, w/16]
        decoder: tokens and memory -> logits
        mirror: another decoder with weights of its own, which reads the captions from right to
            left; training only, None where there is none.
    """

    memory_type = Memory
    state_type = State

    def __init__(
        self,
        encoder: nn.Module,
        decoder: RecurrentDecoder,
        max_length: int,
        mirror: RecurrentDecoder | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.mirror = mirror
        self.max_length = max_length

    def encode(self, images: Tensor) -> Memory:
        return self.decoder.remember(self.encoder(images))

    def remember(self, images: Tensor) -> Memory:
        return self.encode(images)

    def start(self, memory: Memory, beams: int, length: int | None = None) -> State:
        return self.decoder.start(memory, beams)

    def step(
        self, tokens: Tensor, position: Tensor, memory: Memory, state: State
    ) -> tuple[Tensor, State]:
        return self.decoder.step(tokens, position, memory, state)

    def interface(self) -> Interface:
        attention, channels = self.decoder.keys.weight.shape[:2]
        hidden = self.decoder.initial.out_features
        vocabulary = self.decoder.classifier.out_features
        coverage = ("beams", 1, "rows", "columns")

        def tensor(name: str, *shape: int | str) -> TensorSpec:
            return TensorSpec(name, "float32", shape)

        def memory(batch: int | str) -> tuple[TensorSpec, ...]:
            return (
                tensor("memory_features", batch, channels, "rows", "columns"),
                tensor("memory_keys", batch, attention, "rows", "columns"),
                tensor("memory_initial", batch, hidden),
            )

        return Interface(
            encoder=GraphSpec(
                inputs=(tensor("images", "batch", self.image_channels, "height", "width"),),
                outputs=memory("batch"),
            ),
            step=GraphSpec(
                inputs=(
                    TensorSpec("tokens", "int64", ("beams",)),
                    TensorSpec("position", "int64", (1,)),
                    *memory(1),
                    tensor("hidden", "beams", hidden),
                    tensor("coverage", *coverage),
                ),
                outputs=(
                    tensor("log_probs", "beams", vocabulary),
                    tensor("next_hidden", "beams", hidden),
                    tensor("next_coverage", *coverage),
                ),
            ),
            state=(
                StateSpec("hidden", "next_hidden"),
                StateSpec("coverage", "next_coverage"),
            ),
            memory_bias="",
        )
