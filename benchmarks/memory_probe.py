"""The process whose memory is measured: it only does what a user's process does.

    python -m inktex.benchmarks.memory_probe BUNDLE RUNTIME PRECISION BEAM PASSES FOLDER

Writes a JSON object a line: `{"read": 1}` for each file, then the stages.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import Any

from .resident import resident


def main(bundle: str, runtime: str, precision: str, beam: str, passes: str, folder: str) -> None:
    """Import, load, and read all files of a folder several times; tell the memory after each."""
    stages: list[dict[str, Any]] = []

    def stage(name: str, **more: int) -> None:
        memory = resident()
        stages.append({"stage": name, "now": memory.now, "peak": memory.peak, **more})

    stage("python")
    for module in ("onnxruntime", "inktex.core.recognizer", "inktex.runtimes.onnx_runtime"):
        import_module(module)  # what `load` would import
    from ..core.errors import InputError
    from ..runtimes import load

    stage("imported")
    began = time.perf_counter()
    recognize = load(bundle, runtime, precision, threads=1)
    loaded_ms = 1e3 * (time.perf_counter() - began)
    stage("loaded")
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    for number in range(1, int(passes) + 1):
        refused = 0
        for path in paths:
            try:
                recognize(path, beam=int(beam))
            except InputError:
                refused += 1
            print('{"read": 1}', flush=True)
        stage(f"pass {number}", formulas=len(paths) * number, refused=refused)
    print(json.dumps({"stages": stages, "loaded_ms": loaded_ms}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
