"""The table of accuracy: test sets, from ink and from bitmaps, precisions, beams, in one go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..core.bundle import Bundle
from ..core.errors import DataError, InktexError
from ..core.metrics import Score
from ..core.progress import Progress
from ..training.captions import read_caption_table, read_captions
from ..training.data_import import import_data
from ..training.evaluation import Reading, Sample, load_samples, score_readings
from ..training.import_settings import ImportSettings
from ..training.split import spread

if TYPE_CHECKING:
    from ..core.recognizer import Recognizer

KINDS = ("ink", "bitmaps")
HEADER = (
    "test set", "from", "precision", "search", "formulas",
    "exact %", "≤ 1 %", "≤ 2 %", "normalised %", "token errors %",
)  # fmt: skip
_CHUNK = 8  # formulas that a worker reads before it asks for more


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        test_set: "2014", "2016".
        kind: "ink" or "bitmaps".
        precision: of the bundle's variant.
        beams: 1 is greedy.
        rescored: whether the beams are ranked by both directions.
    """

    test_set: str
    kind: str
    precision: str
    beams: int
    rescored: bool = False

    @property
    def search(self) -> str:
        """As the table says it: "greedy", "beam 5", "beam 5 rescored"."""
        if self.beams == 1:
            return "greedy"
        return f"beam {self.beams} rescored" if self.rescored else f"beam {self.beams}"


@dataclass(frozen=True)
class Row:
    """What a setting gave.

    Attributes:
        readings: one for each caption of the test set (or of the part asked for), in order. What
            could not be read is an empty reading, and so wrong.
        errors: message -> how many formulas could not be read for it.
    """

    setting: Setting
    score: Score
    readings: list[Reading] = field(repr=False)
    errors: dict[str, int]

    def cells(self) -> list[str]:
        """The cells of the row, as `HEADER` names them."""
        setting, score = self.setting, self.score
        rates = (score.exact, score.within_1, score.within_2, score.normalized)
        return [
            setting.test_set,
            setting.kind,
            setting.precision,
            setting.search,
            str(score.count),
            *(f"{100 * rate:.2f}" for rate in (*rates, score.token_error_rate)),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return {**vars(self.setting), **self.score.to_dict(), "errors": self.errors}


def load_test_set(root: Path, test_set: str, kind: str) -> list[Sample]:
    """A test set as distributed, one sample for each of its captions, in order of name.

    Args:
        root: the folder with `crohme/inkml/SET.zip`, `crohme/images/SET.zip` and
            `crohme/images/SET.tsv`.

    Raises:
        DataError: a file is missing.
    """
    captions_file = root / "crohme" / "images" / f"{test_set}.tsv"
    archive = root / "crohme" / ("inkml" if kind == "ink" else "images") / f"{test_set}.zip"
    for path in (captions_file, archive):
        if not path.is_file():
            raise DataError(
                f"expected the test set {test_set} at {path}, found no such file; name the folder "
                "that holds crohme/ with --data"
            )
    captions = read_captions(captions_file)
    if kind == "ink":
        settings = ImportSettings(read_caption_table(captions_file))
        expressions, _ = import_data([archive], settings)
        found: dict[str, Any] = {each.identifier: each.source for each in expressions}
    else:
        found = {each.identifier: each.source for each in load_samples(archive, captions_file)}
    # what could not be imported is in the table all the same, as wrong
    return [Sample(name, found.get(name), captions[name]) for name in sorted(captions)]


def measure_accuracy(
    bundle: Bundle,
    root: Path,
    *,
    test_sets: Sequence[str],
    kinds: Sequence[str] = KINDS,
    precisions: Sequence[str],
    beams: Sequence[int],
    runtimes: Mapping[str, str] = MappingProxyType({}),
    constrain: bool = True,
    limit: int | None = None,
    workers: int = 2,
    finished: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Read every test set in every way, with several processes of one thread each.

    Args:
        root: see `load_test_set`.
        constrain: keep to well-formed formulas.
        limit: only so many formulas of each set, spread over it.
        runtimes: what runs each precision; the fastest here where nothing is said.
        beams: each of more than one also with both directions, where the bundle can.
        finished: called with every row as soon as it is complete, in order of the table.

    Returns:
        The rows: by test set, then kind, precision and search.

    Raises:
        DataError: a test set is missing.
    """
    samples = {
        (test_set, kind): spread(load_test_set(root, test_set, kind), limit)
        for test_set, kind in product(test_sets, kinds)
    }
    can_rescore = bundle.manifest.decoding.rescore
    settings = [
        Setting(test_set, kind, precision, width, rescored)
        for test_set, kind, precision, width in product(test_sets, kinds, precisions, beams)
        for rescored in ((False, True) if can_rescore and width > 1 else (False,))
    ]
    chunks = [
        (setting, start)
        for setting in settings
        for start in range(0, len(samples[setting.test_set, setting.kind]), _CHUNK)
    ]
    total = sum(len(samples[each.test_set, each.kind]) for each in settings)
    rows: list[Row] = []
    answers: dict[tuple[Setting, int], list[Answer]] = {}
    pool = ProcessPoolExecutor(
        workers,
        # not forked: the threads of this process's libraries would be missing in the child
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(bundle.path, samples, constrain, dict(runtimes)),
    )
    try:
        waiting = {pool.submit(_read_chunk, *chunk): chunk for chunk in chunks}
        with Progress(total, "accuracy") as progress:
            for chunk, answer in _completed(waiting):
                answers[chunk] = answer
                progress.advance(len(answer))
                while len(rows) < len(settings):
                    setting = settings[len(rows)]
                    part = samples[setting.test_set, setting.kind]
                    starts = range(0, len(part), _CHUNK)
                    if any((setting, start) not in answers for start in starts):
                        break
                    read = [each for start in starts for each in answers.pop((setting, start))]
                    rows.append(_row(setting, part, read))
                    finished(rows[-1])
    finally:
        pool.shutdown(cancel_futures=True)
    return rows


@dataclass(frozen=True)
class Answer:
    """What a worker says of one formula: tokens and confidence, or why there are none."""

    tokens: tuple[str, ...]
    confidence: float
    error: str = ""


def _completed(
    waiting: dict[Future[list[Answer]], tuple[Setting, int]],
) -> Iterator[tuple[tuple[Setting, int], list[Answer]]]:
    for future in as_completed(waiting):
        yield waiting[future], future.result()


def _row(setting: Setting, samples: Sequence[Sample], answers: Sequence[Answer]) -> Row:
    readings = [
        Reading(sample.identifier, sample.caption, answer.tokens, answer.confidence)
        for sample, answer in zip(samples, answers, strict=True)
    ]
    errors = Counter(answer.error for answer in answers if answer.error)
    return Row(setting, score_readings(readings), readings, dict(errors))


class _Worker:
    """What a worker process holds: the samples, and a recognizer for each precision."""

    def __init__(
        self,
        bundle: Path,
        samples: dict[tuple[str, str], list[Sample]],
        constrain: bool,
        runtimes: Mapping[str, str],
    ) -> None:
        self.bundle = bundle
        self.runtimes = runtimes
        self.samples = samples
        self.constrain = constrain
        self.recognizers: dict[str, Recognizer] = {}

    def read(self, setting: Setting, start: int) -> list[Answer]:
        """The answers for the chunk that begins at `start`."""
        from ..runtimes import load

        if setting.precision not in self.recognizers:
            runtime = self.runtimes.get(setting.precision, "auto")
            self.recognizers[setting.precision] = load(
                self.bundle, runtime, setting.precision, threads=1
            )
        recognizer = self.recognizers[setting.precision]
        answers = []
        for sample in self.samples[setting.test_set, setting.kind][start : start + _CHUNK]:
            if sample.source is None:
                answers.append(Answer((), 0.0, "not imported"))
                continue
            try:
                result = recognizer(
                    sample.source,
                    beam=setting.beams,
                    constrain=self.constrain,
                    rescore=setting.rescored,
                )
            except InktexError as error:
                answers.append(Answer((), 0.0, str(error)))
            else:
                answers.append(Answer(result.tokens, result.confidence))
        return answers


_worker: _Worker | None = None


def _start_worker(
    bundle: Path,
    samples: dict[tuple[str, str], list[Sample]],
    constrain: bool,
    runtimes: Mapping[str, str],
) -> None:
    global _worker
    _worker = _Worker(bundle, samples, constrain, runtimes)


def _read_chunk(setting: Setting, start: int) -> list[Answer]:
    assert _worker is not None, "the pool's initializer has run"
    return _worker.read(setting, start)
