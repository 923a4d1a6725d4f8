"""The process whose memory is measured: it only does what a user's process does.

    python -m inktex.benchmarks.memory_probe \
        BUNDLE RUNTIME PRECISION BEAM THREADS PASSES BEGAN FOLDER

BEGAN is when the process was started, in seconds since 1970. Writes a JSON object a line:
`{"read": 1}` for each file, then the stages.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from importlib import import_module
from typing import Any

from .resident import resident

_LIBRARIES = {
    "onnxruntime": "onnxruntime",
    "ort": "onnxruntime",
    "openvino": "openvino",
    "executorch": "executorch.runtime",
    "coreml": "coremltools",
    "coreml18": "coremltools",
}
"""What runtimes import when they load; of any other it is counted as loading."""
_FIRST = ("first", "second")


def main(
    bundle: str,
    runtime: str,
    precision: str,
    beam: str,
    threads: str,
    passes: str,
    began: str,
    folder: str,
) -> None:
    """Import, load, and read all files of a folder several times; tell memory and time after
    each."""
    stages: list[dict[str, Any]] = []

    def stage(name: str, **more: int) -> None:
        at_ms = 1e3 * (time.time() - float(began))
        memory = resident()
        stages.append(
            {"stage": name, "at_ms": at_ms, "now": memory.now, "peak": memory.peak, **more}
        )

    stage("python")
    library = _LIBRARIES.get(runtime.partition(":")[0])
    if library:
        with suppress(ImportError):  # `load` says what is missing
            import_module(library)
    for module in ("inktex.core.recognizer", "inktex.runtimes.onnx_runtime"):
        import_module(module)  # what `load` would import
    from ..core.errors import InputError
    from ..runtimes import load

    stage("imported")
    recognize = load(bundle, runtime, precision, threads=int(threads))
    stage("loaded")
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    for number in range(1, int(passes) + 1):
        refused = 0
        for place, path in enumerate(paths):
            try:
                recognize(path, beam=int(beam))
            except InputError:
                refused += 1
            if number == 1 and place < len(_FIRST):
                stage(_FIRST[place])
            print('{"read": 1}', flush=True)
        stage(f"pass {number}", formulas=len(paths) * number, refused=refused)
    print(json.dumps({"stages": stages}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
