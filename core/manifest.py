"""What a bundle says of itself: `manifest.json` as frozen dataclasses.

The manifest names everything that a program in any language needs to run the graphs beside it:
the vocabulary, every tensor (name, dtype, shape, dynamic axes), which output of the step feeds
which of its inputs, how images are prepared, how to decode, which files hold which variant, and
the size and SHA-256 of every file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from .confidence import Calibration
from .errors import BundleError, VocabularyError
from .fields import Fields
from .interface import (
    GraphSpec,
    Interface,
    StateSpec,
    TensorSpec,
    interface_problems,
    read_interface,
)
from .vocabulary import Vocabulary

__all__ = [
    "FORMAT_VERSION",
    "Decoding",
    "FileRecord",
    "GraphSpec",
    "Interface",
    "JsonObject",
    "Manifest",
    "Preprocessing",
    "StateSpec",
    "TensorSpec",
    "Variant",
]

FORMAT_VERSION = 1
"""The version of the manifest this code writes, and the latest that it reads."""

_MOST_PENALTY = 10  # of a hypothesis of hundreds of tokens the power is a number still

JsonObject = Mapping[str, object]
"""Free JSON: text, finite numbers, booleans, null, lists and mappings."""


@dataclass(frozen=True)
class Preprocessing:
    """How ink and images become the encoder's input: a named procedure and its parameters."""

    name: str
    parameters: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class Decoding:
    """How to search when the caller does not say.

    Attributes:
        max_length: tokens of the longest answer, `<eos>` included.
        beams: beam width; 1 is greedy.
        length_penalty: the exponent of the length that a hypothesis' log-probability is
            divided by.
        rescore: whether the decoder also writes from right to left, and the hypotheses of a beam
            search are ranked by both directions (see `rescoring`).
    """

    max_length: int
    beams: int = 1
    length_penalty: float = 1.0
    rescore: bool = False


@dataclass(frozen=True)
class Variant:
    """The graphs of one precision for one target.

    Attributes:
        target: the runtime that takes them, the name of its `inktex.runtimes` entry point.
        precision: "fp32", "int8", …
        encoder, step: file names; two variants may share a file.
        tree: file name of the graph that reads trees, "" where there is none. Its weights may lie
            in the file of the step, as external data, so that the bundle holds them once.
        exp_rate: what was measured with exactly these files, free JSON.
        limits: the greatest size of some dynamic axes, by name, where the target wants one
            declared: "height" and "width" of the image, "cells", "beams", …
        image_sizes: (height, width) that the encoder takes, where it takes no others; an image is
            put into the smallest that holds it, with paper to the right and below.
    """

    target: str
    precision: str
    encoder: str
    step: str
    exp_rate: JsonObject = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    image_sizes: tuple[tuple[int, int], ...] = ()
    tree: str = ""

    @property
    def graphs(self) -> dict[str, str]:
        """The part that each graph plays, and its file: "encoder", "step", "tree" if there is."""
        named = {"encoder": self.encoder, "step": self.step}
        return {**named, "tree": self.tree} if self.tree else named


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be: SHA-256 in hexadecimal, size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """Everything in `manifest.json`.

    Attributes:
        variants: in order of preference; the first that can run here is the default.
        provenance: free JSON: recipe, fingerprint of the data, versions.
        licence: of the weights.
        golden: name of the `.npz` with golden inputs and outputs, None when there is none.
        confidence: how sure a greedy reading may be; None where it was not calibrated.
        beam_confidence: how sure the readings of a beam may be, which are compared with each
            other; None where that was not calibrated, and `confidence` serves for both.
        files: relative name -> size and checksum, filled in by `write_bundle`.

    Raises:
        BundleError: the parts contradict each other; the message names every contradiction.
    """

    vocabulary: Vocabulary
    interface: Interface
    preprocessing: Preprocessing
    decoding: Decoding
    variants: tuple[Variant, ...]
    provenance: JsonObject
    licence: str
    golden: str | None = None
    confidence: Calibration | None = None
    beam_confidence: Calibration | None = None
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        problems = [
            *interface_problems(self.interface),
            *_vocabulary_problems(self.interface, len(self.vocabulary)),
            *_decoding_problems(self.decoding),
        ]
        names = [(variant.target, variant.precision) for variant in self.variants]
        if not names:
            problems.append("variants: expected at least one, found none")
        if self.interface.tree is None:
            problems += [
                f"variants: {each.target} {each.precision} has the graph {each.tree!r} for trees, "
                "of which the interface knows nothing"
                for each in self.variants
                if each.tree
            ]
        problems += [
            f"variants: {target} {precision} appears more than once"
            for target, precision in sorted(set(names))
            if names.count((target, precision)) > 1
        ]
        _refuse(problems)

    def to_json(self) -> str:
        """The text of `manifest.json`.

        Raises:
            BundleError: a free part holds what JSON cannot express.
        """
        content = asdict(self)
        content["vocabulary"] = list(self.vocabulary.tokens)
        content["brief"] = self.vocabulary.brief
        content = {"format_version": content.pop("format_version"), **content}
        try:
            return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise BundleError(
                f"the manifest cannot be written as JSON ({error}); provenance, parameters and "
                "measurements hold text, finite numbers, lists and mappings only"
            ) from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read `manifest.json`.

        Raises:
            BundleError: not JSON, of a later format version, or with missing, ill-typed or
                contradictory fields; the message names each of them.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"manifest.json: expected JSON, found otherwise: {error}") from None
        problems: list[str] = []
        top = Fields(content, "", problems)
        version = top.whole("format_version")
        _refuse(problems)
        if version > FORMAT_VERSION:
            raise BundleError(
                f"this bundle has format version {version}, this inktex reads up to "
                f"{FORMAT_VERSION}; upgrade with `pip install --upgrade inktex`"
            )
        if version < 1:
            problems.append(f"format_version: expected 1 to {FORMAT_VERSION}, found {version}")
        tokens = top.items("vocabulary", str, "text")
        brief = "brief" in top.content and top.flag("brief")  # bundles had none
        fields = {
            "interface": read_interface(top.nested("interface")),
            "preprocessing": _read_preprocessing(top.nested("preprocessing")),
            "decoding": _read_decoding(top.nested("decoding")),
            "variants": tuple(_read_variant(each) for each in top.objects("variants")),
            "provenance": top.mapping("provenance"),
            "licence": top.text("licence"),
            "golden": None if top.is_null("golden") else top.text("golden"),
            "confidence": _read_calibration(top, "confidence"),
            "beam_confidence": _read_calibration(top, "beam_confidence"),
            "files": {name: _read_record(each) for name, each in top.named("files").items()},
        }
        vocabulary: Vocabulary | None = None
        try:
            vocabulary = Vocabulary(tuple(map(str, tokens)), brief)
        except VocabularyError as error:
            problems.append(f"vocabulary: {error}")
        _refuse(problems)
        return cls(vocabulary=vocabulary, format_version=version, **fields)  # type: ignore[arg-type]


def _refuse(problems: Iterable[str]) -> None:
    problems = list(problems)
    if problems:
        raise BundleError(
            "manifest.json does not describe a bundle; write it again with `inktex export`:\n  "
            + "\n  ".join(problems)
        )


def _vocabulary_problems(interface: Interface, size: int) -> Iterable[str]:
    for spec in interface.step.outputs:
        if spec.name == interface.log_probs and spec.shape[1:] != (size,):
            yield (
                f"interface.log_probs: expected the axes beams and {size}, as many as the "
                f"vocabulary has tokens, found {list(spec.shape)}"
            )


def _decoding_problems(decoding: Decoding) -> Iterable[str]:
    for name in ("max_length", "beams"):
        if getattr(decoding, name) < 1:
            yield f"decoding.{name}: expected 1 or more, found {getattr(decoding, name)}"
    if not 0 <= decoding.length_penalty <= _MOST_PENALTY:
        yield (
            f"decoding.length_penalty: expected a number from 0 to {_MOST_PENALTY}, found "
            f"{decoding.length_penalty}"
        )


def _read_preprocessing(fields: Fields) -> Preprocessing:
    return Preprocessing(fields.text("name"), fields.mapping("parameters"))


def _read_decoding(fields: Fields) -> Decoding:
    return Decoding(
        fields.whole("max_length"),
        fields.whole("beams"),
        fields.number("length_penalty"),
        "rescore" in fields.content and fields.flag("rescore"),  # bundles had none
    )


def _read_variant(fields: Fields) -> Variant:
    return Variant(
        target=fields.text("target"),
        precision=fields.text("precision"),
        encoder=fields.text("encoder"),
        step=fields.text("step"),
        exp_rate=fields.mapping("exp_rate"),
        limits=_read_limits(fields),
        image_sizes=_read_image_sizes(fields),
        tree=fields.text("tree") if "tree" in fields.content else "",  # bundles had none
    )


def _read_calibration(top: Fields, name: str) -> Calibration | None:
    if top.content.get(name) is None:  # as in bundles from before there was any
        return None
    fields = top.nested(name)
    names = ["bias", "total", "least", "length"]
    if "margin" in fields.content:  # likewise
        names.append("margin")
    values = {each: fields.number(each) for each in names}
    for each, value in values.items():
        if not math.isfinite(value):
            fields.note(fields.path(each), "a finite number", value)
    return Calibration(**values)


def _read_limits(fields: Fields) -> dict[str, int]:
    if "limits" not in fields.content:  # as bundles were before there were any
        return {}
    limits = fields.nested("limits")
    found = {name: limits.whole(name) for name in limits.content}
    for name, most in found.items():
        if most < 1:
            limits.note(limits.path(name), "a size of 1 or more", most)
    return found


def _read_image_sizes(fields: Fields) -> tuple[tuple[int, int], ...]:
    if "image_sizes" not in fields.content:  # as bundles were before there were any
        return ()
    found: list[tuple[int, int]] = []
    for size in fields.items("image_sizes", list, "a pair of height and width"):
        pair = size if isinstance(size, list) else []
        if len(pair) == 2 and all(type(side) is int and side > 0 for side in pair):
            found.append((pair[0], pair[1]))
        else:
            fields.note(fields.path("image_sizes"), "pairs of height and width", size)
    return tuple(found)


def _read_record(fields: Fields) -> FileRecord:
    record = FileRecord(fields.text("sha256"), fields.whole("size"))
    if record.sha256 and (len(record.sha256) != 64 or set(record.sha256) - set("0123456789abcdef")):
        fields.note(fields.path("sha256"), "64 hexadecimal digits", record.sha256)
    if record.size < 0:
        fields.note(fields.path("size"), "a number of bytes", record.size)
    return record
