"""A transformer of a recipe as a pair of graphs that re-feeds its prefix, for `OnnxPair`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import DataError
from ...core.interface import GraphSpec, TensorSpec
from ...core.replacement import replacing
from ...core.vocabulary import Vocabulary
from .onnx_pair import DECODER, ENCODER, LONGEST, VOCABULARY

if TYPE_CHECKING:
    from ...training.recognizer import Recognizer


def pair_graphs(network: Recognizer, vocabulary: Vocabulary) -> dict[str, bytes]:
    """The two graphs, in float32, by the names of their files.

    Raises:
        DataError: the network is no transformer.
    """
    import torch
    from torch import Tensor, nn

    from ...export.to_onnx import to_onnx
    from ...training.transformer_recognizer import TransformerRecognizer

    if not isinstance(network, TransformerRecognizer):
        raise DataError(
            "expected a transformer, which can re-feed its prefix, found a recurrent decoder; take "
            "mask_and_match or edge"
        )
    whole = network

    class Encoder(nn.Module):
        """Images to the features of all cells."""

        def __init__(self) -> None:
            super().__init__()
            self.network = whole

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            cells = self.network.all_cells(images)
            return cells.features, cells.places, cells.bias

    class Decoder(nn.Module):
        """The prefix to the logits of the next tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.decoder = whole.decoder

        def forward(
            self, tokens: Tensor, features: Tensor, places: Tensor, bias: Tensor
        ) -> tuple[Tensor, ...]:
            logits, _ = self.decoder(tokens, self.decoder.remember(features, places, bias))
            return (logits[:, -1],)

    width = whole.decoder.embedding.embedding_dim
    images = TensorSpec("images", "float32", (1, 1, "height", "width"))
    tokens = TensorSpec("tokens", "int64", ("beams", "steps"))
    logits = TensorSpec("logits", "float32", ("beams", len(vocabulary)))

    def memory(rows: int | str) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec("features", "float32", (rows, "cells", width)),
            TensorSpec("places", "float32", (rows, "cells", width)),
            TensorSpec("bias", "float32", (rows, "cells")),
        )

    examples = {
        "images": torch.rand(1, 1, 48, 80),
        "tokens": torch.ones(3, 7, dtype=torch.int64),
        "features": torch.rand(3, 5, width),
        "places": torch.rand(3, 5, width),
        "bias": torch.zeros(3, 5),
    }
    graphs = {
        ENCODER: to_onnx(Encoder(), examples, GraphSpec((images,), memory(1))),
        DECODER: to_onnx(Decoder(), examples, GraphSpec((tokens, *memory("beams")), (logits,))),
    }
    graphs[DECODER].metadata_props.add(key=LONGEST, value=str(network.max_length))
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
