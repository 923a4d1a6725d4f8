"""A transformer as a pair of graphs that re-feeds its prefix, for `OnnxPair`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import DataError
from ...core.interface import GraphSpec, TensorSpec
from ...core.rendering import Rendering
from ...core.replacement import replacing
from ...core.vocabulary import Vocabulary
from .onnx_pair import BRIEF, DECODER, ENCODER, LONGEST, RENDERING, VOCABULARY

if TYPE_CHECKING:
    from ...training.prefix_network import PrefixNetwork
    from ...training.recognizer import Recognizer


def pair_graphs(
    network: Recognizer | PrefixNetwork, vocabulary: Vocabulary, rendering: Rendering
) -> dict[str, bytes]:
    """The two graphs, in float32, by the names of their files.

    Args:
        rendering: how large the network sees a formula, which the pair tells its reader.

    Raises:
        DataError: the network is no transformer.
    """
    import torch
    from torch import Tensor, nn

    from ...export.to_onnx import to_onnx
    from ...training.prefix_network import prefix_network

    whole = prefix_network(network)

    class Encoder(nn.Module):
        """Images to what the decoder looks at."""

        def __init__(self) -> None:
            super().__init__()
            self.network = whole

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return self.network.encode(images)

    class Decoder(nn.Module):
        """The prefix to the logits of the next tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.network = whole

        def forward(self, tokens: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
            return (self.network.read(tokens, *memory)[:, -1],)

    images = TensorSpec("images", "float32", (1, rendering.channels, "height", "width"))
    tokens = TensorSpec("tokens", "int64", ("beams", "steps"))
    logits = TensorSpec("logits", "float32", ("beams", len(vocabulary)))
    tiled = tuple(replace(each, shape=("beams", *each.shape[1:])) for each in whole.memory)
    image = torch.rand(1, rendering.channels, 48, 80)
    with torch.inference_mode():
        memory = [each.expand(3, *each.shape[1:]).clone() for each in whole.encode(image)]
    examples = {"images": image, "tokens": torch.ones(3, 7, dtype=torch.int64)}
    examples |= {spec.name: each for spec, each in zip(tiled, memory, strict=True)}
    graphs = {
        ENCODER: to_onnx(Encoder(), examples, GraphSpec((images,), whole.memory)),
        DECODER: to_onnx(Decoder(), examples, GraphSpec((tokens, *tiled), (logits,))),
    }
    told = {
        LONGEST: whole.max_length,
        RENDERING: asdict(rendering),
        BRIEF: vocabulary.brief,
    }
    for key, value in told.items():
        graphs[DECODER].metadata_props.add(key=key, value=json.dumps(value))
    return {name: graph.SerializeToString() for name, graph in graphs.items()}


def write_pair(
    graphs: Mapping[str, bytes], vocabulary: Vocabulary, folder: Path, int8: bool = False
) -> None:
    """Write graphs and vocabulary into a folder.

    Args:
        int8: quantise the weights of the products of both graphs, with dynamic activations, as
            ONNX Runtime's tool does it; convolutions stay in float32.

    Raises:
        DataError: the folder cannot be made, or not written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}); name another") from error
    for name, data in graphs.items():
        if int8:
            import onnx

            from ...quantization.onnx_int8 import dynamic_int8

            data = dynamic_int8(onnx.load_from_string(data)).SerializeToString()
        with replacing(folder / name) as partial:
            partial.write_bytes(data)
    with replacing(folder / VOCABULARY) as partial:
        partial.write_text("\n".join(vocabulary.tokens) + "\n", encoding="utf-8")
