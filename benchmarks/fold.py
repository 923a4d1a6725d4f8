"""What it saves to fold the coverage convolutions and to hoist the keys out of the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.interface import GraphSpec

if TYPE_CHECKING:
    import onnx

    from ..training.checkpoint import Checkpoint

HEADER = ("step graph", "beams", "ms a step, median", "for each as exported")
EXPORTED, UNFOLDED, PUBLISHED = "as exported", "not folded", "nor hoisted"
_WARM_UP = 3


@dataclass(frozen=True)
class FoldRow:
    """A form of the step graph with a number of beams.

    `ratio` is its time for each time of the form that is exported, turn by turn: the median.
    """

    form: str
    beams: int
    step_ms: float
    ratio: float

    def cells(self) -> list[str]:
        """The cells of the row, as `HEADER` names them."""
        return [self.form, str(self.beams), f"{self.step_ms:.2f}", f"{self.ratio:.2f}"]

    def to_dict(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return asdict(self)


def measure_fold(
    checkpoint: Checkpoint, *, rows: int, columns: int, beams: Sequence[int], turns: int
) -> list[FoldRow]:
    """Time a step of three graphs of the same weights in ONNX Runtime, on one thread.

    The graphs take turns, each being first as often as the others, so that whatever else the
    machine does meets them alike. What is in the memory does not matter and is random.

    Args:
        rows, columns: of the memory, each 16 pixels of the image.

    Raises:
        DataError: the decoder has no coverage convolutions to fold.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        form: onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for form, model in _step_graphs(checkpoint).items()
    }
    spec = checkpoint.trained_network().interface().step
    found = []
    for count in beams:
        given = _inputs(spec, {"beams": count, "rows": rows, "columns": columns})
        times: dict[str, list[float]] = {form: [] for form in sessions}
        forms = list(sessions)
        for turn in range(_WARM_UP + turns):
            first = turn % len(forms)
            for form in forms[first:] + forms[:first]:
                names = [each.name for each in sessions[form].get_inputs()]
                began = perf_counter()
                sessions[form].run(None, {name: given[name] for name in names})
                if turn >= _WARM_UP:
                    times[form].append(1e3 * (perf_counter() - began))
        for form in forms:
            ratio = np.median(np.divide(times[form], times[EXPORTED]))
            found.append(FoldRow(form, count, float(np.median(times[form])), float(ratio)))
    return found


def _step_graphs(checkpoint: Checkpoint) -> dict[str, onnx.ModelProto]:
    """The step as it is exported; with the coverage layer by layer; and with the keys made in it,
    too, as published."""
    import torch
    from torch import Tensor, nn

    from ..export.graphs import StepGraph
    from ..export.to_onnx import to_onnx
    from ..training.recurrent_decoder import CoverageAggregation
    from ..training.recurrent_recognizer import RecurrentRecognizer

    network = checkpoint.trained_network()
    if not isinstance(network, RecurrentRecognizer) or not isinstance(
        network.decoder.aggregation, CoverageAggregation
    ):
        raise DataError(
            "expected a decoder with convolutions over its coverage, found none in a checkpoint "
            f"of recipe {checkpoint.recipe.name!r}; fold one of abm or coverage"
        )
    unfolded = StepGraph(network)
    assert isinstance(unfolded.network, RecurrentRecognizer)
    decoder = unfolded.network.decoder
    decoder.aggregation = nn.Sequential(network.decoder.aggregation)  # called as it stands

    class Published(nn.Module):
        """The step without `memory_keys`."""

        def __init__(self) -> None:
            super().__init__()
            self.step = unfolded

        def forward(
            self, tokens: Tensor, position: Tensor, features: Tensor, *others: Tensor
        ) -> tuple[Tensor, ...]:
            keys = decoder.keys(features)
            outputs: tuple[Tensor, ...] = self.step(tokens, position, features, keys, *others)
            return outputs

    spec = network.interface().step
    without_keys = GraphSpec(
        tuple(each for each in spec.inputs if each.name != "memory_keys"), spec.outputs
    )
    # no size here is a fixed one, so that none is frozen by chance
    examples = {
        name: torch.from_numpy(array)
        for name, array in _inputs(spec, {"beams": 3, "rows": 5, "columns": 7}).items()
    }
    return {
        EXPORTED: to_onnx(StepGraph(network), examples, spec),
        UNFOLDED: to_onnx(unfolded, examples, spec),
        PUBLISHED: to_onnx(Published(), examples, without_keys),
    }


def _inputs(spec: GraphSpec, sizes: dict[str, int]) -> dict[str, NDArray[Any]]:
    """Arrays for all inputs of a step: small random numbers, `<pad>` and the second step."""
    rng = np.random.default_rng(0)
    shapes = {
        each.name: [sizes[size] if isinstance(size, str) else size for size in each.shape]
        for each in spec.inputs
    }
    return {
        each.name: np.ones(shapes[each.name], np.int64)
        if each.dtype == "int64"
        else rng.random(shapes[each.name], np.float32)
        for each in spec.inputs
    }
