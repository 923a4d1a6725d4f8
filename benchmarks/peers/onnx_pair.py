"""Any encoder and decoder as ONNX whose decoder takes the whole prefix in every step, as exported
CoMER models do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import BundleError, InputError, VocabularyError
from ...core.manifest import Preprocessing
from ...core.rendering import CANONICAL, Rendering
from ...core.vocabulary import SPECIAL_TOKENS, Vocabulary
from ..profiler.contender import Configuration, Reader
from .step_reading import StepReader, seen_at

ENCODER, DECODER, VOCABULARY = "encoder.onnx", "decoder.onnx", "vocabulary.txt"
LONGEST = "inktex.max_length"
"""The decoder's metadata that tells how many steps it can make; 160 where it has none."""
RENDERING = "inktex.rendering"
"""Likewise how large it sees a formula, `Rendering` as JSON; `CANONICAL` where it has none."""
BRIEF = "inktex.brief"
"""Likewise whether it writes as a brief vocabulary does, "true"; it does not where it has none."""
_USUAL = 160


@dataclass(frozen=True)
class OnnxPair:
    """A folder with `encoder.onnx`, `decoder.onnx` and, where the tokens are not the bundle's,
    `vocabulary.txt`: a token a line, with or without `<pad>`, `<sos>` and `<eos>` in front.

    The encoder takes images, float [1, channels, h, w], ink 1 on 0, and maybe a mask of paper that
    was added, which there is none of. The decoder takes tokens, integers [beams, steps], and what
    the encoder gives, found by name, else in its order; and gives logits or log-probabilities, of
    the last step or of all. Its metadata may tell how a formula is to be drawn; canonical bitmaps,
    as of published systems, where it does not.

    Attributes:
        precision: to read; what is in the graphs is not looked at.
        trained: whether its answers mean anything.
    """

    folder: Path
    vocabulary: Vocabulary
    preprocessing: Preprocessing
    precision: str = "fp32"
    trained: bool = True
    beams: int = 1
    threads: int = 1

    @property
    def configuration(self) -> Configuration:
        """Named after the folder."""
        system = f"{self.folder.resolve().name} (prefix re-fed)"
        return Configuration(system, "onnxruntime", self.precision, self.threads, self.beams)

    def load(self) -> Reader:
        """Both sessions.

        Raises:
            BundleError: a file is missing or damaged, or a graph takes what this does not know to
                give.
        """
        file = self.folder / VOCABULARY
        own = _vocabulary(file) if file.is_file() else None
        vocabulary = own or self.vocabulary
        model = PairModel(self.folder, len(vocabulary), self.threads)
        if own is not None:
            vocabulary = replace(own, brief=model.brief)
        return StepReader(
            model,
            vocabulary,
            seen_at(self.preprocessing, model.rendering),
            beams=self.beams,
            max_length=model.max_length,
            forced=not self.trained,
        )


class PairModel:
    """A `StepModel` whose memory is what the encoder gives and whose state is the prefix, int64
    [beams, steps].

    Attributes:
        max_length: steps that can be made.
        rendering: how large it sees a formula.
        brief: whether it spares braces.

    Raises:
        BundleError: a graph is missing, or none that this knows to run.
    """

    def __init__(self, folder: Path, vocabulary_size: int, threads: int) -> None:
        self.vocabulary_size = vocabulary_size
        self._encoder = _session(folder / ENCODER, threads)
        self._decoder = _session(folder / DECODER, threads)
        given = self._decoder.get_inputs()
        tokens = [each for each in given if "int" in each.type and len(each.shape) == 2]
        outputs = [each.name for each in self._encoder.get_outputs()]
        others = [each.name for each in given if each not in tokens]
        if len(tokens) != 1 or len(others) > len(outputs):
            raise BundleError(
                f"{folder}: expected a decoder that takes tokens [beams, steps] and what the "
                f"encoder gives ({', '.join(outputs)}), found one that takes "
                f"{', '.join(each.name for each in given)}"
            )
        self._tokens = tokens[0]
        by_name = set(others) <= set(outputs)
        self._sources = dict(
            zip(others, others if by_name else outputs[: len(others)], strict=True)
        )
        self._images, *self._masks = self._encoder.get_inputs()
        told = self._decoder.get_modelmeta().custom_metadata_map
        self.brief = told.get(BRIEF) == "true"
        try:
            self.max_length = int(told.get(LONGEST, _USUAL))
            seen = json.loads(told[RENDERING]) if RENDERING in told else {}
            self.rendering: Rendering = replace(CANONICAL, **seen)
        except (InputError, TypeError, ValueError) as error:
            raise BundleError(
                f"{folder / DECODER}: expected metadata as `inktex bench pair` writes it, found "
                f"other ({error}); write the pair again"
            ) from error

    def encode(self, images: NDArray[np.float32]) -> list[dict[str, NDArray[Any]]]:
        """images [1, channels, h, w] -> what the encoder gives, by name"""
        shape = (len(images), *images.shape[2:])
        masks = {
            each.name: np.zeros(shape, bool if "bool" in each.type else np.float32)
            for each in self._masks
        }
        names = [each.name for each in self._encoder.get_outputs()]
        found = self._encoder.run(names, {self._images.name: images, **masks})
        return [dict(zip(names, found, strict=True))]

    def start(self, memory: Mapping[str, NDArray[Any]], beams: int) -> NDArray[np.int64]:
        """Nothing is written."""
        return np.zeros((beams, 0), np.int64)

    def step(
        self,
        tokens: NDArray[np.int64],
        memory: Mapping[str, NDArray[Any]],
        state: NDArray[np.int64],
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The whole decoder over the whole prefix, the memory repeated for every beam."""
        prefix = np.concatenate([state, tokens[:, None]], axis=1)
        dtype = np.int32 if "int32" in self._tokens.type else np.int64
        given = {
            name: np.repeat(memory[source], len(prefix), axis=0)
            for name, source in self._sources.items()
        }
        logits = self._decoder.run(None, {self._tokens.name: prefix.astype(dtype), **given})[0]
        if logits.ndim == 3:
            logits = logits[:, -1]
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return log_probs.astype(np.float32), prefix

    def reorder(self, state: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the prefix."""
        return state[order]


def _vocabulary(path: Path) -> Vocabulary:
    try:
        tokens = path.read_text(encoding="utf-8-sig").split()
        own = [token for token in tokens if token not in SPECIAL_TOKENS]
        return Vocabulary((*SPECIAL_TOKENS, *own))
    except (OSError, UnicodeDecodeError, VocabularyError) as error:
        raise BundleError(
            f"{path}: expected a token a line, each once, in UTF-8, found other ({error}); mend "
            "it, or write the pair again with `inktex bench pair`"
        ) from error


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    if not path.is_file():
        raise BundleError(
            f"expected a graph at {path}, found none; a pair is a folder with {ENCODER} and "
            f"{DECODER}, as `inktex bench pair` writes one"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime has a dozen kinds and no common one
        raise BundleError(f"{path}: ONNX Runtime refuses the graph: {error}") from error
