from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import Result

from inktex.benchmarks import fold
from inktex.core.errors import DataError
from inktex.training.checkpoint import Checkpoint
from inktex.training.recurrent_recognizer import RecurrentRecognizer

from ..training import recurrent, synthetic

SIZES = {"beams": 2, "rows": 2, "columns": 3}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return recurrent.checkpoint("abm")


@pytest.fixture(scope="module")
def graphs(checkpoint: Checkpoint) -> dict[str, onnx.ModelProto]:
    return fold._step_graphs(checkpoint)


def kernels(model: onnx.ModelProto) -> list[int]:
    """Sizes of the kernels of all convolutions."""
    weights = {each.name: each.dims for each in model.graph.initializer}
    return sorted(weights[node.input[1]][-1] for node in model.graph.node if node.op_type == "Conv")


def test_all_three_graphs_compute_the_same_in_different_ways(
    checkpoint: Checkpoint, graphs: dict[str, onnx.ModelProto]
) -> None:
    network = checkpoint.trained_network()
    assert isinstance(network, RecurrentRecognizer)
    given = fold._inputs(network.interface().step, SIZES)
    given["memory_keys"] = (
        network.decoder.keys(torch.from_numpy(given["memory_features"])).detach().numpy()
    )
    found = {}
    for form, model in graphs.items():
        session = onnxruntime.InferenceSession(model.SerializeToString())
        names = [each.name for each in session.get_inputs()]
        found[form] = session.run(["log_probs"], {name: given[name] for name in names})[0]
        np.testing.assert_allclose(found[form], found[fold.EXPORTED], atol=1e-4, err_msg=form)
    # scores; then coverage; then, of the published form, the keys
    assert kernels(graphs[fold.EXPORTED]) == [1, 11]
    assert kernels(graphs[fold.UNFOLDED]) == [1, 1, 1, 5, 11]
    assert kernels(graphs[fold.PUBLISHED]) == [1, 1, 1, 1, 5, 11]


def test_the_command_prints_a_row_for_every_graph_and_beam(
    checkpoint: Checkpoint,
    graphs: dict[str, onnx.ModelProto],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inktex: Callable[..., Result],
) -> None:
    monkeypatch.setattr(fold, "_step_graphs", lambda _: graphs)
    checkpoint.save(tmp_path / "tiny.safetensors")
    done = inktex(
        *("benchmark", "fold", tmp_path / "tiny.safetensors", "--beam", "1,3", "--turns", 2),
        *("--height", 32, "--width", 64, "--json", tmp_path / "fold.json"),
    )
    assert done.exit_code == 0, done.stderr
    written = json.loads((tmp_path / "fold.json").read_text())
    assert (written["rows"], written["columns"], written["turns"]) == (2, 4, 2)
    rows = [(row["form"], row["beams"]) for row in written["table"]]
    assert rows == [(form, beams) for beams in (1, 3) for form in graphs]
    for row in written["table"]:
        assert row["step_ms"] > 0
        assert row["ratio"] > 0
        assert row["ratio"] == 1 or row["form"] != fold.EXPORTED
    assert f"| {fold.PUBLISHED} | 3 |" in done.stdout


def test_without_coverage_there_is_nothing_to_fold() -> None:
    with pytest.raises(DataError, match="found none in a checkpoint of recipe 'edge'"):
        fold.measure_fold(synthetic.checkpoint(), rows=2, columns=2, beams=(1,), turns=1)
