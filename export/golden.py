"""Golden inputs and outputs: with them a port in any language proves itself.

The ink is drawn here by hand, so that no data set is needed and none is given away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.interface import Interface
from ..core.manifest import Preprocessing
from ..core.preparation import prepare_image
from ..core.token_tree import TokenTree
from ..core.vocabulary import Vocabulary
from ..training.recognizer import Recognizer
from .graphs import EncoderGraph, InkedEncoderGraph, StepGraph, TreeGraph, read_greedily

STEPS = 6

# x^2: two strokes that cross, and a small 2 above on the right
_STROKES = (
    [(0, 2), (2, 0), (5, 3), (8, 12), (12, 18), (15, 19), (18, 16)],
    [(17, 1), (12, 4), (7, 11), (3, 17), (0, 19)],
    [(22, -7), (25, -10), (29, -9), (29, -5), (25, -1), (22, 2), (26, 1), (31, 2)],
)


def golden_image(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """float32 [1, channels, h, w], ink 1 on 0, as the recognizer would give it to the encoder"""
    return prepare_image([np.array(stroke, np.float64) for stroke in _STROKES], preprocessing)


@torch.inference_mode()
def golden_arrays(
    network: Recognizer,
    interface: Interface,
    vocabulary: Vocabulary,
    preprocessing: Preprocessing,
) -> dict[str, NDArray[Any]]:
    """What torch computes in float32: the encoder's input and outputs, as of `InkedEncoderGraph`,
    the first steps of greedy search, and all tokens that it writes; a small tree where the
    interface has a graph for one.

    Returns:
        `encoder.<tensor>`, `step.<n>.tokens`, `step.<n>.log_probs`, `greedy` (int64 tokens), and
        `tree.<tensor>`.
    """
    images = torch.from_numpy(golden_image(preprocessing))
    reading = read_greedily(EncoderGraph(network), StepGraph(network), images, vocabulary)
    arrays: dict[str, NDArray[Any]] = {"encoder.images": images.numpy()}
    # what nobody looks at would take most of the room
    memory = InkedEncoderGraph(network)(images)
    for spec, tensor in zip(interface.memory, memory, strict=True):
        arrays[f"encoder.{spec.name}"] = tensor.numpy()
    inputs = [vocabulary.sos, *reading.tokens]
    for number, log_probs in enumerate(reading.log_probs[:STEPS]):
        arrays[f"step.{number}.tokens"] = np.array([inputs[number]])
        arrays[f"step.{number}.log_probs"] = log_probs.numpy()
    arrays["greedy"] = np.array(reading.tokens, np.int64)
    if interface.tree is not None:
        # what was written, from both ends, which fork at once, and one more way to go on
        written = reading.tokens[:STEPS]
        tree = TokenTree.of(
            [
                (vocabulary.sos, *written),
                (vocabulary.sos, *written[:2], len(vocabulary) - 1),
                (vocabulary.eos, *reversed(written)),
            ]
        ).inputs
        given = [torch.from_numpy(array) for array in tree.values()]
        log_probs, *_ = TreeGraph(network)(*given, *reading.memory)
        arrays |= {f"tree.{name}": array for name, array in tree.items()}
        arrays[f"tree.{interface.log_probs}"] = log_probs.numpy()
    return arrays
