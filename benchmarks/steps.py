"""What it saves to keep state between steps, and to project the memory before the first of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.interface import GraphSpec, TensorSpec
from ..core.preparation import prepare_image
from ..core.progress import Progress

if TYPE_CHECKING:
    import onnx

    from ..training.checkpoint import Checkpoint
    from ..training.inkset import Expression
    from ..training.transformer_recognizer import TransformerRecognizer

HEADER = ("decoder", "formulas", "tokens, mean", "ms a token, median", "for each as exported")
EXPORTED = "as exported: state bound, memory projected before"
ROUND_TRIP = "state through numpy, features projected in every step"
PREFIX = "no state: the whole prefix in every step"
FORMS = (EXPORTED, ROUND_TRIP, PREFIX)
_WARM_UP = 3


@dataclass(frozen=True)
class StepsRow:
    """A form of the decoder over all formulas.

    `ratio` is its time for each time of the form that is exported, formula by formula: the median.
    """

    form: str
    formulas: int
    tokens: float
    token_ms: float
    ratio: float

    def cells(self) -> list[str]:
        """The cells of the row, as `HEADER` names them."""
        return [
            self.form,
            str(self.formulas),
            f"{self.tokens:.1f}",
            f"{self.token_ms:.2f}",
            f"{self.ratio:.2f}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return asdict(self)


def measure_steps(checkpoint: Checkpoint, expressions: Sequence[Expression]) -> list[StepsRow]:
    """Write the captions of formulas with three graphs of the same weights, on one thread.

    All see the same cells, those with ink. The forms take turns at every formula, each being first
    as often as the others, so that whatever else the machine does meets them alike. The encoder is
    not timed.

    Raises:
        DataError: the decoder is no transformer, or there is no formula, or one
            without a caption.
    """
    from ..core.errors import InputError

    if not expressions:
        raise DataError("expected formulas to write, found none")
    if any(not each.caption for each in expressions):
        raise DataError("expected a caption of every formula, found some without")
    decoders = Decoders(checkpoint)
    vocabulary = checkpoint.vocabulary
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    lengths: list[int] = []
    first = list(expressions[:_WARM_UP])
    with Progress(len(first) + len(expressions), "formulas") as progress:
        for number, expression in enumerate([*first, *expressions]):
            progress.advance()
            tokens = [vocabulary.sos, *vocabulary.encode(expression.caption)]
            try:
                image = prepare_image(expression.source, decoders.preprocessing)
            except InputError:
                continue
            tokens = tokens[: decoders.longest]
            turn = number % len(FORMS)
            spent = {}
            for form in FORMS[turn:] + FORMS[:turn]:
                decode = decoders.decoder(form, image)
                began = perf_counter()
                decode(tokens)
                spent[form] = 1e3 * (perf_counter() - began) / len(tokens)
            if number >= len(first):
                lengths.append(len(tokens))
                for form, each in spent.items():
                    times[form].append(each)
    if not lengths:
        raise DataError("expected formulas that can be read, found none")
    return [
        StepsRow(
            form,
            len(lengths),
            float(np.mean(lengths)),
            float(np.median(times[form])),
            float(np.median(np.divide(times[form], times[EXPORTED]))),
        )
        for form in FORMS
    ]


class Decoders:
    """The three forms of a recognizer's decoder.

    Raises:
        DataError: it is no transformer.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        import onnxruntime

        from ..export.checkpoint_bundle import export_bundle
        from ..runtimes import choose
        from ..training.transformer_recognizer import TransformerRecognizer

        network = checkpoint.trained_network()
        if not isinstance(network, TransformerRecognizer):
            raise DataError(
                "expected a recognizer with a transformer, found a checkpoint of recipe "
                f"{checkpoint.recipe.name!r}; `inktex benchmark fold` times recurrent ones"
            )
        self.network = network
        with tempfile.TemporaryDirectory(prefix="inktex-") as place:
            bundle = export_bundle(checkpoint, Path(place) / "bundle")
            self._model: Any = choose(bundle, "onnxruntime", threads=1)[1]
        self.preprocessing = bundle.manifest.preprocessing
        self.longest = min(network.max_length, bundle.manifest.decoding.max_length)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions = {
            form: onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            for form, model in graphs(network).items()
        }
        self._state = [
            each for each in bundle.manifest.interface.step.inputs if "beams" in each.shape
        ][1:]

    def decoder(
        self, form: str, image: NDArray[np.float32]
    ) -> Callable[[Sequence[int]], list[NDArray[np.float32]]]:
        """What writes tokens for one image, [1, channels, h, w]; the encoder has run."""
        import torch

        if form == EXPORTED:
            [memory] = self._model.encode(image)

            def as_exported(tokens: Sequence[int]) -> list[NDArray[np.float32]]:
                state, found = self._model.start(memory, 1), []
                for token in tokens:
                    log_probs, state = self._model.step(np.array([token]), memory, state)
                    found.append(log_probs[0])
                return found

            return as_exported
        with torch.inference_mode():
            cells = self.network.inked_cells(torch.from_numpy(image))
        given = {
            "cells": cells.features.numpy(),
            "places": cells.places.numpy(),
            "bias": cells.bias.numpy(),
        }
        session = self._sessions[form]
        if form == PREFIX:

            def with_prefix(tokens: Sequence[int]) -> list[NDArray[np.float32]]:
                found = []
                for end in range(1, len(tokens) + 1):
                    prefix = np.array([tokens[:end]], np.int64)
                    found.append(session.run(None, {"tokens": prefix, **given})[0][0])
                return found

            return with_prefix
        sizes = {"beams": 1, "length": self.longest, "cells": given["bias"].shape[1]}

        def round_trip(tokens: Sequence[int]) -> list[NDArray[np.float32]]:
            state = {
                each.name: np.zeros(
                    [sizes[size] if isinstance(size, str) else size for size in each.shape],
                    np.float32,
                )
                for each in self._state
            }
            found = []
            for position, token in enumerate(tokens):
                log_probs, *following = session.run(
                    None,
                    {
                        "tokens": np.array([token]),
                        "position": np.array([position]),
                        **given,
                        **state,
                    },
                )
                state = dict(zip(state, following, strict=True))
                found.append(log_probs[0])
            return found

        return round_trip


def graphs(network: TransformerRecognizer) -> dict[str, onnx.ModelProto]:
    """The two graphs that are not exported otherwise: a step that projects the features of the
    cells itself, and the whole decoder over a prefix."""
    import torch
    from torch import Tensor, nn

    from ..export.to_onnx import to_onnx
    from ..training.transformer_decoder import State

    decoder = network.decoder

    class Step(nn.Module):
        """The step, with the memory's projections in it."""

        def __init__(self) -> None:
            super().__init__()
            self.decoder = decoder

        def forward(
            self,
            tokens: Tensor,
            position: Tensor,
            cells: Tensor,
            places: Tensor,
            bias: Tensor,
            *state: Tensor,
        ) -> tuple[Tensor, ...]:
            memory = self.decoder.remember(cells, places, bias)
            log_probs, following = self.decoder.step(tokens, position, memory, State(*state))
            return log_probs, *following

    class Prefix(nn.Module):
        """The decoder over all tokens so far."""

        def __init__(self) -> None:
            super().__init__()
            self.decoder = decoder

        def forward(
            self, tokens: Tensor, cells: Tensor, places: Tensor, bias: Tensor
        ) -> tuple[Tensor, ...]:
            logits, _ = self.decoder(tokens, self.decoder.remember(cells, places, bias))
            return (torch.log_softmax(logits[:, -1], dim=-1),)

    interface = network.interface()
    width = decoder.embedding.embedding_dim
    memory = (
        TensorSpec("cells", "float32", (1, "cells", width)),
        TensorSpec("places", "float32", (1, "cells", width)),
        TensorSpec("bias", "float32", (1, "cells")),
    )
    tokens, position, *rest = interface.step.inputs
    state = tuple(each for each in rest if "beams" in each.shape)
    step = GraphSpec((tokens, position, *memory, *state), interface.step.outputs)
    log_probs = TensorSpec("log_probs", "float32", (1, len(decoder.embedding.weight)))
    prefix = GraphSpec((TensorSpec("tokens", "int64", (1, "length")), *memory), (log_probs,))
    sizes = {"beams": 3, "length": 7, "cells": 5}
    found = {}
    for form, module, spec in ((ROUND_TRIP, Step(), step), (PREFIX, Prefix(), prefix)):
        examples = {
            each.name: torch.ones(
                [sizes[size] if isinstance(size, str) else size for size in each.shape],
                dtype=getattr(torch, each.dtype),
            )
            for each in spec.inputs
        }
        found[form] = to_onnx(module, examples, spec)
    return found
