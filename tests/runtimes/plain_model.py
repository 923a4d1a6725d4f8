"""What every adapter must agree with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from inktex.core.bundle import Bundle
from inktex.export.to_tensorrt import with_all_cells

SOS, EOS = 1, 2
Arrays = dict[str, NDArray[Any]]


class PlainModel:
    """The same graphs as slowly and plainly as can be: numpy states, whole copies, all cells."""

    def __init__(self, bundle: Bundle) -> None:
        variant = bundle.variant("onnxruntime")
        encoder = with_all_cells(onnx.load_from_string(bundle.read(variant.encoder)))
        self.encoder = onnxruntime.InferenceSession(encoder.SerializeToString())
        self.decoder = onnxruntime.InferenceSession(bundle.read(variant.step))
        self.length = bundle.manifest.decoding.max_length
        self.interface = bundle.manifest.interface
        self.vocabulary_size = len(bundle.manifest.vocabulary)

    def encode(self, images: NDArray[np.float32]) -> list[Arrays]:
        names = [spec.name for spec in self.interface.memory]
        outputs = self.encoder.run(names, {"images": images})
        return [
            {name: output[i : i + 1] for name, output in zip(names, outputs, strict=True)}
            for i in range(len(images))
        ]

    def start(self, memory: Arrays, beams: int) -> Arrays:
        cells = memory["memory_bias"].shape[1]
        sizes = {"beams": beams, "cells": cells, "length": self.length}
        state: Arrays = {"position": np.zeros(1, np.int64)}
        for each in self.interface.state:
            shape = [sizes.get(str(size), size) for size in self.interface.step[each.input].shape]
            state[each.input] = np.zeros(shape, np.float32)
        return state

    def step(
        self,
        tokens: NDArray[np.int64],
        memory: Arrays,
        state: Arrays,
    ) -> tuple[NDArray[np.float32], Arrays]:
        names = ["log_probs", *(each.output for each in self.interface.state)]
        log_probs, *outputs = self.decoder.run(names, {"tokens": tokens, **memory, **state})
        after = {each.input: out for each, out in zip(self.interface.state, outputs, strict=True)}
        return log_probs, {"position": state["position"] + 1, **after}

    def reorder(self, state: Arrays, order: NDArray[np.int64]) -> Arrays:
        axes = {
            each.input: self.interface.step[each.input].shape.index("beams")
            for each in self.interface.state
        }
        return {
            name: array.take(order, axes[name]) if name in axes else array
            for name, array in state.items()
        }
