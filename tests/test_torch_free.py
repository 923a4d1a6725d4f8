"""`core` and `runtimes` work on a machine with the device install and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

# Makes every installed package that the device install does not bring look as if it were absent,
# then imports every module of core and runtimes, and reads the files it is given.
DEVICE = r"""
import importlib, json, pkgutil, re, sys
from importlib.metadata import distribution, PackageNotFoundError, packages_distributions

def bare(name):
    return re.sub(r"[-_.]+", "-", name).lower()

device, queue = set(), ["inktex"]
while queue:
    name = bare(queue.pop())
    if name in device:
        continue
    device.add(name)
    try:
        requirements = distribution(name).requires or ()
    except PackageNotFoundError:  # for another platform
        continue
    queue += [re.match(r"[\w.-]+", each)[0] for each in requirements if "extra ==" not in each]

hidden = {
    package
    for package, owners in packages_distributions().items()
    if not device & {bare(owner) for owner in owners} and package not in sys.modules
}

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent)
assert {"torch", "lightning", "onnx"} <= hidden, "the tests' environment lacks what is to be hidden"

modules = []
for package in ("inktex.core", "inktex.runtimes"):
    home = importlib.import_module(package)
    for found in pkgutil.walk_packages(home.__path__, package + "."):
        importlib.import_module(found.name)
        modules.append(found.name)

from inktex.runtimes import load

recognizer = load()
print(json.dumps({
    "modules": modules,
    "latex": [recognizer(path).latex for path in sys.argv[1:]],
    # one that is None is kept from being loaded
    "loaded": sorted(each for each in hidden & set(sys.modules) if sys.modules[each]),
}))
"""


def test_core_and_runtimes_read_handwriting_without_torch() -> None:
    ink, image = (sorted(EXAMPLES.glob(f"*.{kind}")) for kind in ("inkml", "png"))
    assert ink
    assert image
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, str(ink[0]), str(image[0])],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"inktex.core.search", "inktex.runtimes.onnx_runtime"} <= set(report["modules"])
    assert all(report["latex"])
    assert report["loaded"] == []
