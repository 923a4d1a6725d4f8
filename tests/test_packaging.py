"""The wheel: all that a device needs is inside, nothing else, and it works outside the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = {"core", "runtimes", "training", "export", "quantization", "benchmarks"}
BUNDLE = "inktex/runtimes/data/default"
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout, so that nothing of an earlier build gets in."""
    source = tmp_path_factory.mktemp("source") / "inktex"
    built = tmp_path_factory.mktemp("wheel")
    litter = ("build", "dist", "runs", "*.egg-info", "__pycache__", ".?*")
    shutil.copytree(REPOSITORY, source, ignore=shutil.ignore_patterns(*litter))
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(built)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [wheel] = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """What the wheel holds."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: set[str]) -> Message:
    """What the wheel says of itself."""
    [name] = [name for name in names if name.endswith(".dist-info/METADATA")]
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(name))


def run_installed(wheel: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the unpacked wheel (installing a pure wheel is unpacking it), far from here.

    Without `site` (-S) the checkout's own editable install is not on the path; what the wheel
    depends on comes from this environment.
    """
    installed = folder / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    path = os.pathsep.join([str(installed), *sorted(libraries)])
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_module_is_in_the_wheel(names: set[str]) -> None:
    modules = {
        f"inktex/{file.relative_to(REPOSITORY).as_posix()}"
        for folder in FOLDERS
        for file in (REPOSITORY / folder).rglob("*.py")
    }
    assert {f"inktex/{folder}/__init__.py" for folder in FOLDERS} <= modules
    assert modules <= names


def test_every_folder_is_typed(names: set[str]) -> None:
    assert {f"inktex/{folder}/py.typed" for folder in FOLDERS} <= names


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    allowed = re.compile(
        rf"inktex/({'|'.join(FOLDERS)})/((\w+/)?\w+\.py|py\.typed|data/.+)"
        r"|inktex-[\w.]+\.dist-info/.+"
    )
    assert [name for name in sorted(names) if not allowed.fullmatch(name)] == []
    assert "inktex/__init__.py" not in names
    assert [name for name in sorted(names) if name.endswith((".pyc", ".pt", ".ckpt"))] == []


def test_the_default_bundle_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        manifest = json.loads(archive.read(f"{BUNDLE}/manifest.json"))
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    assert any(name.endswith(".onnx") for name in manifest["files"])
    for name, record in manifest["files"].items():
        assert sizes[f"{BUNDLE}/{name}"] == record["size"], name


def test_both_licences_are_in_the_wheel(wheel: Path, names: set[str], metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-NC-SA-3.0"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    with zipfile.ZipFile(wheel) as archive:
        weights = archive.read("inktex/runtimes/data/LICENSE-WEIGHTS.md").decode()
    assert "NonCommercial" in weights


def test_the_device_install_is_four_packages(metadata: Message) -> None:
    needed = {
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }
    assert needed == {"numpy", "pillow", "onnxruntime", "click"}


def test_the_wheel_reads_handwriting_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    [example, *_] = sorted((REPOSITORY / "examples").glob("*.inkml"))
    code = (
        "import sys, inktex.core.cli, inktex.runtimes as runtimes; "
        "print(runtimes.__file__, file=sys.stderr); "
        "inktex.core.cli.main(['recognize', '--json', sys.argv[1]], prog_name='inktex')"
    )
    done = run_installed(wheel, tmp_path, "-c", code, str(example))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(tmp_path / "installed")), "not the unpacked wheel ran"
    [line] = done.stdout.splitlines()
    assert json.loads(line)["latex"]
