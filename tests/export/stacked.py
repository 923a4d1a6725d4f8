"""A bundle as it was written before every layer had tensors of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from inktex.core.bundle import Bundle, golden_npz, write_bundle
from inktex.core.interface import GraphSpec, Interface, StateSpec, TensorSpec
from inktex.export.targets import example_inputs
from inktex.export.to_onnx import to_onnx
from inktex.training.checkpoint import Checkpoint
from inktex.training.transformer_decoder import Memory, State
from inktex.training.transformer_recognizer import TransformerRecognizer


class StackedEncoder(nn.Module):
    """images -> keys and values [batch, layers, heads, cells, d/heads], bias"""

    def __init__(self, network: TransformerRecognizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        memory = self.network.encode(images)
        return torch.stack(memory.keys, 1), torch.stack(memory.values, 1), memory.bias


class StackedStep(nn.Module):
    """Layers are the first axis of every state, then beams and heads: caches [layers, beams, heads,
    length, d/heads], coverage [layers, beams, heads, cells]; nothing is folded into the weights."""

    def __init__(self, network: TransformerRecognizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, position: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        keys, values, bias, *caches, coverage = tensors
        memory = Memory(*keys.unbind(1), *values.unbind(1), bias)
        state = State(
            *(layer.permute(2, 0, 1, 3) for each in caches for layer in each.unbind(0)),
            *(layer.transpose(0, 1)[None] for layer in coverage.unbind(0)),
        )
        log_probs, following = self.network.step(tokens, position, memory, state)
        return (
            log_probs,
            *(
                torch.stack([layer.permute(1, 2, 0, 3) for layer in part])
                for part in (following.cache_keys, following.cache_values)
            ),
            torch.stack([layer[0].transpose(0, 1) for layer in following.coverage]),
        )


def stacked_interface(interface: Interface, layers: int) -> Interface:
    """The interface of the two modules above."""

    def stacked(specs: Sequence[TensorSpec], axis: int) -> tuple[TensorSpec, ...]:
        found = []
        for spec in specs:
            name, _, layer = spec.name.rpartition("_")
            if not layer.isdigit():
                found.append(spec)
            elif layer == "0":
                shape = spec.shape
                if "length" in shape:
                    length, beams, heads, features = shape
                    shape = (beams, heads, length, features)
                elif "beams" in shape:
                    _, heads, beams, cells = shape
                    shape = (beams, heads, cells)
                shape = (*shape[:axis], layers, *shape[axis:])
                found.append(TensorSpec(name, spec.dtype, shape))
        return tuple(found)

    tokens, position, *rest = interface.step.inputs
    memory, state = rest[: len(interface.memory)], rest[len(interface.memory) :]
    return replace(
        interface,
        encoder=GraphSpec(interface.encoder.inputs, stacked(interface.memory, 1)),
        step=GraphSpec(
            (tokens, position, *stacked(memory, 1), *stacked(state, 0)),
            stacked(interface.step.outputs, 0),
        ),
        state=tuple(
            StateSpec(each.name, f"next_{each.name}", 3 if "length" in each.shape else None)
            for each in stacked(state, 0)
        ),
        tree=None,
    )


def stacked_bundle(checkpoint: Checkpoint, new: Bundle, path: Path) -> Bundle:
    """What `export_bundle` wrote of a checkpoint, in float32 for ONNX Runtime, where it now writes
    `new`."""
    network = checkpoint.trained_network().eval()
    assert isinstance(network, TransformerRecognizer)
    layers = len(network.decoder.layers)
    interface = stacked_interface(network.interface(), layers)
    encoder, step = StackedEncoder(network), StackedStep(network)
    golden = dict(new.golden())
    for part in ("keys", "values"):
        each = [golden.pop(f"encoder.memory_{part}_{layer}") for layer in range(layers)]
        golden[f"encoder.memory_{part}"] = np.stack(each, axis=1)
    [variant] = new.manifest.variants
    examples = {name: example_inputs(getattr(interface, name)) for name in ("encoder", "step")}
    graphs: dict[str, bytes | Path] = {
        variant.encoder: to_onnx(
            encoder, examples["encoder"], interface.encoder
        ).SerializeToString(),
        variant.step: to_onnx(step, examples["step"], interface.step).SerializeToString(),
        "golden.npz": golden_npz(golden),
    }
    return write_bundle(path, replace(new.manifest, interface=interface), graphs)
