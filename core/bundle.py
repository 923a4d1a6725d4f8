"""A bundle: one trained recognizer as a directory that proves itself before it is used.

`manifest.json` (see `Manifest`), the graphs of every variant, and golden inputs and outputs. No
pickle, no graph with data elsewhere than in the bundle, no file outside the directory:
`Bundle.open` checks all of it before a runtime sees a byte. Files that the manifest does not name
are never read.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError
from .external_data import check_self_contained
from .manifest import (
    FORMAT_VERSION,
    Decoding,
    FileRecord,
    GraphSpec,
    Interface,
    Manifest,
    Preprocessing,
    StateSpec,
    TensorSpec,
    Variant,
)

__all__ = [
    "FORMAT_VERSION",
    "Bundle",
    "Decoding",
    "FileRecord",
    "GraphSpec",
    "Interface",
    "Manifest",
    "Preprocessing",
    "StateSpec",
    "TensorSpec",
    "Variant",
    "check_replaceable",
    "golden_npz",
    "write_bundle",
]

MANIFEST = "manifest.json"
_MANIFEST_BYTES = 16 << 20  # far above any vocabulary; below what would hurt to parse
_GOLDEN_BYTES = 256 << 20
_DAMAGE = (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose every file has been checked; make one with `Bundle.open`."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Check the bundle at `path`, file by file, and give it.

        Raises:
            BundleError: no bundle, of a later format version, damaged, or reaching outside its
                directory; the message says which file and what to do.
        """
        if not isinstance(path, str | os.PathLike):
            raise BundleError(f"expected the path of a bundle, found {path!r}; name its folder")
        path = Path(path)
        bundle = cls(path, Manifest.from_json(_read_manifest(path)))
        manifest = bundle.manifest
        for name in manifest.files:
            data = bundle.read(name)
            if name.lower().endswith(".onnx") or any(
                variant.target == "onnxruntime" and name in variant.graphs.values()
                for variant in manifest.variants
            ):
                sizes = {each: manifest.files[file].size for each, file in _holders(manifest, name)}
                check_self_contained(data, name, sizes)
        wanted = [(manifest.golden, "golden")] if manifest.golden is not None else []
        for number, variant in enumerate(manifest.variants):
            for part, name in variant.graphs.items():
                wanted.append((name, f"variants[{number}].{part}"))
        for name, where in wanted:
            # A graph may be a directory of files (CoreML's .mlpackage).
            if name not in manifest.files and not any(
                file.startswith(f"{name}/") for file in manifest.files if name
            ):
                raise BundleError(
                    f"{path / MANIFEST}: {where} names {name!r}, which is not among its files "
                    f"{sorted(manifest.files)}; export the bundle again"
                )
        return bundle

    def read(self, name: str) -> bytes:
        """The bytes of the file `name`, exactly those whose checksum the manifest holds.

        Raises:
            BundleError: the manifest names no such file, or the file is missing, unreadable,
                changed, or outside the directory.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleError(
                f"{self.path}: expected one of the files {sorted(self.manifest.files)}, "
                f"was asked for {name!r}"
            )
        file = _inside(self.path, name)
        try:
            with file.open("rb") as stream:
                there = os.fstat(stream.fileno()).st_size  # which a manifest may exaggerate
                data = stream.read(min(record.size, there) + 1)
        except OSError as error:
            raise BundleError(
                f"{self.path}: the file {name!r} cannot be read ({error.strerror}); "
                "check its permissions or fetch the bundle again"
            ) from None
        found = hashlib.sha256(data).hexdigest()
        if len(data) != record.size or found != record.sha256:
            size = "more" if len(data) > record.size else str(len(data))
            raise BundleError(
                f"{self.path}: the file {name!r} is damaged: expected {record.size} bytes with "
                f"SHA-256 {record.sha256}, found {size} bytes with {found}; fetch the bundle again"
            )
        return data

    def weights_of(self, name: str) -> dict[str, bytes]:
        """The files that hold weights of the graph `name` for it, by the names it has for them."""
        return {each: self.read(file) for each, file in _holders(self.manifest, name)}

    def contents(self) -> dict[str, bytes | Path]:
        """Name -> path of every file but the manifest, as `write_bundle` takes them."""
        return {name: _inside(self.path, name) for name in self.manifest.files}

    def variant(self, target: str, precision: str = "auto") -> Variant:
        """The variant for `target` with `precision`, "auto" for the first, the preferred one.

        Raises:
            BundleError: there is none; the message lists those there are.
        """
        for variant in self.manifest.variants:
            if variant.target == target and precision in ("auto", variant.precision):
                return variant
        there = ", ".join(f"{each.target} {each.precision}" for each in self.manifest.variants)
        any_name = ("auto", "all")  # as commands call what is left open
        wanted = "a variant"
        wanted += f" for the target {target!r}" * (target not in any_name)
        wanted += f" with precision {precision!r}" * (precision not in any_name)
        raise BundleError(
            f"{self.path}: expected {wanted}, found only {there}; choose one of these or export "
            "that variant"
        )

    def golden(self) -> dict[str, NDArray[Any]]:
        """The golden arrays by name: `encoder.<tensor>`, `step.<n>.<tensor>`, `greedy` (tokens).

        Raises:
            BundleError: the bundle has none, or they cannot be read without pickle.
        """
        if self.manifest.golden is None:
            raise BundleError(f"{self.path}: expected golden inputs and outputs, found none")
        data = io.BytesIO(self.read(self.manifest.golden))
        try:
            with zipfile.ZipFile(data) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > _GOLDEN_BYTES:
                raise BundleError(f"{self.path}: golden arrays of {size} bytes are too large")
            data.seek(0)
            with np.load(data, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except _DAMAGE as error:
            raise BundleError(
                f"{self.path}: {self.manifest.golden!r} is not a plain .npz ({error}); "
                "export the bundle again"
            ) from None


def write_bundle(
    path: str | os.PathLike[str], manifest: Manifest, files: Mapping[str, bytes | Path]
) -> Bundle:
    """Write a bundle to the directory `path`, wholly or not at all.

    The bundle is made in a directory beside `path`, opened with all checks, and only then put in
    place; a bundle that was there before is given up last. To add a variant to a bundle, write it
    again with `{**bundle.contents(), …}`.

    Args:
        manifest: its `files` are replaced by what is found in `files`.
        files: relative POSIX name -> contents, or the path of a file to copy.

    Raises:
        BundleError: a name or graph that `Bundle.open` would refuse, something other than a
            bundle at `path`, or a place that cannot be written to.
    """
    path = Path(path)
    check_replaceable(path)
    sources = {os.fspath(each) for each in files.values() if isinstance(each, Path)}
    try:
        return _written(path, manifest, files)
    except OSError as error:
        if error.filename in sources:
            raise
        raise BundleError(
            f"{path} cannot be written ({error.strerror or error}); make room or name another "
            "place; what was there is as it was"
        ) from error


def _written(path: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Bundle:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}"
    old = path.parent / f"{fresh.name}.old"
    fresh.mkdir()
    try:
        records = {}
        for name, source in sorted(files.items()):
            data = source if isinstance(source, bytes) else source.read_bytes()
            target = _inside(fresh, name, must_exist=False)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, data)
            records[name] = FileRecord(hashlib.sha256(data).hexdigest(), len(data))
        _write(fresh / MANIFEST, replace(manifest, files=records).to_json().encode())
        Bundle.open(fresh)
        if path.exists():
            path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
    return Bundle.open(path)


def check_replaceable(path: Path) -> None:
    """Raise BundleError where there is something at `path` that `write_bundle` would not replace,
    or no folder to put it into: worth asking before much is computed."""
    if path.is_symlink() or (path.exists() and not _replaceable(path)):
        raise BundleError(
            f"{path}: expected a bundle to replace or nothing, found something else; "
            "name another directory or remove it"
        )
    if path.resolve() == Path.cwd():
        raise BundleError(
            f"{path}: expected a folder that a bundle can take the place of, found the one that "
            "this command was called in; name another"
        )
    above = next(each for each in path.absolute().parents if os.path.lexists(each))
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise BundleError(
            f"{path}: expected a folder to put it into that can be written to, found that {above} "
            "is none; name another place"
        )


def golden_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """`arrays` as the bytes of a compressed `.npz`; equal arrays give equal bytes.

    Raises:
        BundleError: an array holds Python objects.
    """
    objects = sorted(name for name, array in arrays.items() if array.dtype.hasobject)
    if objects:
        raise BundleError(f"golden arrays hold numbers only; found Python objects in {objects}")
    stream = io.BytesIO()
    save: Any = np.savez_compressed  # whose own options have no place among the names of arrays
    save(stream, **arrays)
    return stream.getvalue()


def _holders(manifest: Manifest, name: str) -> list[tuple[str, str]]:
    """The files that may hold weights of the graph `name`: what the graph calls them, and their
    names in the bundle. Of a graph for trees it is the step of its variant, which lies beside it.
    """
    if any(name in (each.encoder, each.step) for each in manifest.variants):
        return []  # which a runtime loads by itself
    place = PurePosixPath(name).parent
    steps = {each.step for each in manifest.variants if each.tree == name} & set(manifest.files)
    return [
        (PurePosixPath(step).name, step)
        for step in sorted(steps)
        if PurePosixPath(step).parent == place
    ]


def _read_manifest(path: Path) -> bytes:
    file = path / MANIFEST
    try:
        with file.open("rb") as stream:
            text = stream.read(_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise BundleError(
            f"{path}: expected a bundle, a directory with {MANIFEST}, found none; "
            "check the path or make one with `inktex export`"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise BundleError(
            f"{file}: cannot be read ({reason}); check the path and its permissions"
        ) from None
    if len(text) > _MANIFEST_BYTES:
        raise BundleError(f"{file}: expected at most {_MANIFEST_BYTES} bytes, found more")
    return text


def _inside(root: Path, name: str, *, must_exist: bool = True) -> Path:
    """The file `name` of the bundle at `root`, once it is sure to lie inside.

    Raises:
        BundleError: the name is absolute, climbs out with "..", is not in plain POSIX form, or
            leads out through a symbolic link; or it is no regular file.
    """
    pure = PurePosixPath(name)
    if (
        pure.is_absolute()
        or ".." in pure.parts
        or str(pure) != name
        or name in (".", MANIFEST)
        or any(sign in name for sign in "\\:\0")  # Windows drives, streams and separators
    ):
        raise BundleError(
            f"{root / MANIFEST}: expected names of files inside the bundle, as 'step.onnx', found "
            f"{name!r}; do not use this bundle unless you trust where it comes from"
        )
    file = root / pure
    try:
        real = file.resolve()
        outside = not real.is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # a loop of links
        raise BundleError(f"{root}: the file {name!r} cannot be found: {error}") from None
    if outside:
        raise BundleError(
            f"{root}: the file {name!r} is a link out of the bundle, to {real}; expected a file "
            "inside; copy the file into the bundle's directory"
        )
    if must_exist and not real.is_file():
        raise BundleError(
            f"{root}: expected the file {name!r}, found none; the bundle is incomplete: fetch it "
            "again"
        )
    return file


def _replaceable(path: Path) -> bool:
    """Whether `path` is a bundle, or a directory with nothing in it."""
    return path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))


def _write(file: Path, data: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
