"""The graphs of a recognizer as modules with plain tensors in and out."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..core.interface import Interface
from ..core.vocabulary import Vocabulary
from ..training.decoder_layer import DecoderLayer
from ..training.recognizer import Recognizer
from ..training.recurrent_decoder import CoverageAggregation
from ..training.two_scale_encoder import ConvNorm


class EncoderGraph(nn.Module):
    """Images to memory: everything that does not depend on the step.

    images float32 [batch, channels, height, width], ink 1 on 0, sides multiples of 16 -> the fields
    of the memory
    """

    def __init__(self, network: Recognizer) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.encode(images))


class InkedEncoderGraph(EncoderGraph):
    """Images to the memory of those cells that hold ink, which spares the other products.

    images float32 [batch, channels, height, width], ink 1 on 0, sides multiples of 16 -> the fields
    of the memory, of the cells that hold ink in an image of the batch; the bias is of all cells
    """

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.encode_inked(images))


class StepGraph(nn.Module):
    """One step of the decoder for all beams of one image.

    tokens int64 [beams], position int64 [1], the fields of a memory of batch 1 and of the state
    of `beams` rows -> log_probs float32 [beams, vocabulary] and the fields of the next state
    """

    def __init__(self, network: Recognizer) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(self, tokens: Tensor, position: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.network.interface().memory)
        memory = self.network.memory_type(*tensors[:count])
        state = self.network.state_type(*tensors[count:])
        log_probs, state = self.network.step(tokens, position, memory, state)
        return log_probs, *state


class TreeGraph(nn.Module):
    """What may follow each node of a tree of tokens.

    tokens, positions int64 [nodes], ancestors float32 [nodes, nodes], the fields of a memory of
    batch 1 -> log_probs float32 [nodes, vocabulary] and what the fields of a state are made of
    """

    def __init__(self, network: Recognizer) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(
        self, tokens: Tensor, positions: Tensor, ancestors: Tensor, *memory: Tensor
    ) -> tuple[Tensor, ...]:
        remembered = self.network.memory_type(*memory)
        log_probs, nodes = self.network.read_tree(tokens, positions, ancestors, remembered)
        return log_probs, *nodes


class KeepingStepGraph(nn.Module):
    """The step for one beam, whose caches are the module's own and do not go in and out.

    tokens int64 [1], position int64 [1], the fields of the memory, the other fields of the state ->
    log_probs float32 [1, vocabulary] and the next of those fields

    Attributes:
        kept: names and shapes of the fields that stay inside, as buffers.
    """

    def __init__(self, network: Recognizer) -> None:
        super().__init__()
        self.step = StepGraph(network)
        interface = network.interface()
        self.kept = kept_state(interface, network.max_length)
        self._fields = [each.input for each in interface.state]
        for name, shape in self.kept.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, tokens: Tensor, position: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.step.network.interface().memory)
        given = iter(tensors[count:])
        state = [getattr(self, name) if name in self.kept else next(given) for name in self._fields]
        log_probs, *following = self.step(tokens, position, *tensors[:count], *state)
        outputs = []
        for name, tensor in zip(self._fields, following, strict=True):
            if name in self.kept:
                getattr(self, name)[:] = tensor
            else:
                outputs.append(tensor)
        return log_probs, *outputs


def kept_state(interface: Interface, longest: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the fields of the state that have fixed sizes for one beam, a cache for
    as many tokens as can be written."""
    sizes = {"beams": 1, "length": longest}
    found = {}
    for each in interface.state:
        shape = [sizes.get(size, 0) if isinstance(size, str) else size
                 for size in interface.step[each.input].shape]  # fmt: skip
        if all(shape):
            found[each.input] = tuple(shape)
    return found


class GreedyReading(NamedTuple):
    """What greedy search in torch found on one image.

    memory: the encoder's outputs
    log_probs: [1, vocabulary] of every step
    tokens: what was written, without `<eos>`
    """

    memory: tuple[Tensor, ...]
    log_probs: list[Tensor]
    tokens: list[int]


@torch.inference_mode()
def read_greedily(
    encoder: EncoderGraph, step: StepGraph, images: Tensor, vocabulary: Vocabulary
) -> GreedyReading:
    """Greedy search through the two graphs as torch runs them, on one image [1, channels, h, w]."""
    memory = encoder(images)
    state = list(step.network.start(step.network.memory_type(*memory), 1))
    reading = GreedyReading(memory, [], [])
    token = vocabulary.sos
    for position in range(step.network.max_length):
        log_probs, *state = step(torch.tensor([token]), torch.tensor([position]), *memory, *state)
        reading.log_probs.append(log_probs)
        token = int(log_probs.argmax())
        if token == vocabulary.eos:
            break
        reading.tokens.append(token)
    return reading


def folded(network: Recognizer) -> Recognizer:
    """A copy for inference: every batch norm is folded into its convolution, the convolutions of
    the coverage with the layers behind them into one, the scale of scores into weights."""
    network = copy.deepcopy(network).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, CoverageAggregation):
            network.set_submodule(name, module.folded().eval())
        elif isinstance(module, DecoderLayer):
            module.fold_scale()
        elif isinstance(module, ConvNorm):
            convolution, norm = module
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            module[0] = fuse_conv_bn_eval(convolution, norm)
            module[1] = nn.Identity().eval()
    return network
