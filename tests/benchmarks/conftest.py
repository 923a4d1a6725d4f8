"""The tiny bundle of the runtimes' tests, with a second variant, and a few formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from inktex.benchmarks.formulas import Formula
from inktex.core.bundle import Bundle, Manifest, Variant, write_bundle
from inktex.core.cli import main

_spec = spec_from_file_location(
    "tiny_bundle_of_runtimes", Path(__file__).resolve().parent.parent / "runtimes" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_runtimes = module_from_spec(_spec)
_spec.loader.exec_module(_runtimes)
tiny_graphs = _runtimes.tiny_graphs
tiny_manifest = _runtimes.tiny_manifest


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_manifest: Manifest,
    tiny_graphs: dict[str, bytes],
) -> Bundle:
    """A bundle whose answers make no sense; its "int8" holds the same graphs as its "fp32"."""
    manifest = replace(
        tiny_manifest,
        variants=(
            Variant("onnxruntime", "int8", "encoder.int8.onnx", "step.int8.onnx"),
            Variant("onnxruntime", "fp32", "encoder.onnx", "step.onnx"),
        ),
    )
    graphs = {name.replace(".onnx", ".int8.onnx"): data for name, data in tiny_graphs.items()}
    return write_bundle(
        tmp_path_factory.mktemp("tiny") / "bundle", manifest, {**tiny_graphs, **graphs}
    )


@pytest.fixture(scope="session")
def formulas() -> list[Formula]:
    """Ten scribbles, in integer units."""
    random = np.random.default_rng(5)
    return [
        Formula(
            f"scribble-{number}.inkml",
            [
                random.integers(0, 400, (count, 2)).astype(np.float64)
                for count in random.integers(2, 6, 3)
            ],
        )
        for number in range(10)
    ]


@pytest.fixture
def inktex() -> Callable[..., Result]:
    """The command line."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(each) for each in arguments], prog_name="inktex")

    return run


@pytest.fixture(scope="session")
def both(tiny_bundle: Bundle) -> list[Variant]:
    """Its variants, the one in single precision first."""
    return [tiny_bundle.variant("onnxruntime", precision) for precision in ("fp32", "int8")]
