"""The two graphs of a recognizer as modules with plain tensors in and out."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..core.interface import GraphSpec, Interface, StateSpec, TensorSpec
from ..core.vocabulary import Vocabulary
from ..training.decoder import CoverageTransformer, Memory, State
from ..training.encoder import ConvNorm
from ..training.network import RecognizerNetwork


class EncoderGraph(nn.Module):
    """Images to memory: everything that does not depend on the step.

    images float32 [batch, 1, height, width], ink 1 on 0, sides multiples of 16 ->
    memory_keys, memory_values float32 [batch, layers, heads, cells, d/heads],
    memory_bias float32 [batch, cells], 0 where the cell holds ink, -1e4 elsewhere
    """

    def __init__(self, network: RecognizerNetwork) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory = self.network.encode(images)
        return memory.keys, memory.values, memory.bias


class StepGraph(nn.Module):
    """One step of the decoder for all beams of one image.

    tokens int64 [beams], position int64 [1], memory of batch 1, state of `beams` rows ->
    log_probs float32 [beams, vocabulary] and the next state
    """

    def __init__(self, decoder: CoverageTransformer) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(decoder).eval()

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        memory_keys: Tensor,
        memory_values: Tensor,
        memory_bias: Tensor,
        cache_keys: Tensor,
        cache_values: Tensor,
        coverage: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        memory = Memory(memory_keys, memory_values, memory_bias)
        state = State(cache_keys, cache_values, coverage)
        log_probs, state = self.decoder.step(tokens, position, memory, state)
        return log_probs, state.cache_keys, state.cache_values, state.coverage


class GreedyReading(NamedTuple):
    """What greedy search in torch found on one image.

    memory: the encoder's outputs
    log_probs: [1, vocabulary] of every step
    tokens: what was written, without `<eos>`
    """

    memory: tuple[Tensor, Tensor, Tensor]
    log_probs: list[Tensor]
    tokens: list[int]


@torch.inference_mode()
def read_greedily(
    encoder: EncoderGraph, step: StepGraph, images: Tensor, vocabulary: Vocabulary
) -> GreedyReading:
    """Greedy search through the two graphs as torch runs them, on one image [1, 1, h, w]."""
    memory = encoder(images)
    _, layers, heads, cells, features = memory[0].shape
    cache = torch.zeros(layers, 1, heads, step.decoder.max_length, features)
    state = [cache, cache, torch.zeros(layers, 1, heads, cells)]
    reading = GreedyReading(memory, [], [])
    token = vocabulary.sos
    for position in range(step.decoder.max_length):
        log_probs, *state = step(torch.tensor([token]), torch.tensor([position]), *memory, *state)
        reading.log_probs.append(log_probs)
        token = int(log_probs.argmax())
        if token == vocabulary.eos:
            break
        reading.tokens.append(token)
    return reading


def folded(network: RecognizerNetwork) -> RecognizerNetwork:
    """A copy for inference in which every batch norm is folded into its convolution."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            convolution, norm = module
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            module[0] = fuse_conv_bn_eval(convolution, norm)
            module[1] = nn.Identity()
    return network


def interface_of(decoder: CoverageTransformer) -> Interface:
    """Names, dtypes, shapes and dynamic axes of the two graphs."""
    layers, heads = len(decoder.layers), decoder.heads
    vocabulary, features = decoder.embedding.weight.shape
    width = features // heads
    memory = ("batch", layers, heads, "cells", width)
    cache = (layers, "beams", heads, "length", width)
    coverage = (layers, "beams", heads, "cells")

    def tensor(name: str, *shape: int | str) -> TensorSpec:
        return TensorSpec(name, "float32", shape)

    return Interface(
        encoder=GraphSpec(
            inputs=(tensor("images", "batch", 1, "height", "width"),),
            outputs=(
                tensor("memory_keys", *memory),
                tensor("memory_values", *memory),
                tensor("memory_bias", "batch", "cells"),
            ),
        ),
        step=GraphSpec(
            inputs=(
                TensorSpec("tokens", "int64", ("beams",)),
                TensorSpec("position", "int64", (1,)),
                tensor("memory_keys", 1, *memory[1:]),
                tensor("memory_values", 1, *memory[1:]),
                tensor("memory_bias", 1, "cells"),
                tensor("cache_keys", *cache),
                tensor("cache_values", *cache),
                tensor("coverage", *coverage),
            ),
            outputs=(
                tensor("log_probs", "beams", vocabulary),
                tensor("next_cache_keys", *cache),
                tensor("next_cache_values", *cache),
                tensor("next_coverage", *coverage),
            ),
        ),
        state=(
            StateSpec("cache_keys", "next_cache_keys", length_axis=3),
            StateSpec("cache_values", "next_cache_values", length_axis=3),
            StateSpec("coverage", "next_coverage"),
        ),
    )
