"""A study on its way: its trainings, as processes of their own, and what came of each."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DataError
from ..core.progress import clock
from .report import write_json
from .study import Arm, Pretraining, Study

if TYPE_CHECKING:
    from ..training.inkset import Expression

RESULTS = "study.json"
"""What stands in the folder of a study beside the folders of its trainings."""


@dataclass(frozen=True)
class Outcome:
    """What came of an arm.

    Attributes:
        expressions: that it learnt from.
        steps, epochs, cpu_s, elapsed_s: of the training with labels.
        validation_loss: nats a token on held-out ink, with teacher forcing.
        validation: ExpRate on it in percent, greedily and without grammar.
        tests: by the name of a test set, what `inktex evaluate` says of it.
    """

    arm: str
    expressions: int
    steps: int
    epochs: int
    cpu_s: float
    elapsed_s: float
    validation_loss: float
    validation: float
    tests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def cells(self, tests: Sequence[str]) -> list[str]:
        """The cells of a row, as `header` names them."""
        scores = []
        for name in tests:
            score = self.tests[name]
            scores += [f"{100 * score[key]:.1f}" for key in ("exact", "token_error_rate")]
        return [
            self.arm,
            str(self.expressions),
            str(self.steps),
            f"{self.cpu_s / 60:.0f}",
            f"{self.validation_loss:.3f}",
            f"{self.validation:.2f}",
            *scores,
        ]


def header(tests: Sequence[str]) -> list[str]:
    """The names of the columns of a study's table."""
    columns = ["arm", "formulas", "steps", "CPU minutes", "validation loss", "validation exact %"]
    return columns + [f"{name} {what} %" for name in tests for what in ("exact", "token errors")]


class Studying:
    """A study on its way: every training is a process of its own, and goes on where one was left.

    Args:
        data: the ink set to train on.
        tests: ink sets to evaluate every arm on.
        folder: for everything.
        budget: in place of the study's.
        jobs: trainings at a time.
        threads: of each.

    Raises:
        DataError: a budget in epochs, which would not be the same for all arms, two trainings
            that would share a folder or two tests that would share a file, or a recipe or setting
            that there is not, or that holds nothing out to validate on.
    """

    def __init__(
        self,
        study: Study,
        data: Path,
        tests: Sequence[Path],
        folder: Path,
        budget: str | None = None,
        jobs: int = 1,
        threads: int | None = None,
    ) -> None:
        from ..training.budget import Budget

        self.study, self.data, self.tests, self.folder = study, data, tests, folder
        self.budget = Budget.parse(budget or study.budget)
        if self.budget.unit == "epochs":
            raise DataError(
                f"expected a budget of time or steps, found {self.budget}: an epoch of an arm with "
                "fewer labels is shorter; give 20cpu-m, 2h or 1000steps"
            )
        places: dict[Path, str] = {}
        names = [each.name for each in study.pretraining] + [each.name for each in study.arms]
        for name in names:
            if other := places.get(self.place(name)):
                raise DataError(
                    f"expected names that differ in letters or digits, found {other!r} and "
                    f"{name!r}, whose trainings would share a folder; rename one"
                )
            places[self.place(name)] = name
        stems: dict[str, Path] = {}
        for test in tests:
            before = stems.setdefault(test.stem, test)
            if before is not test:
                raise DataError(
                    f"expected tests with names of their own, found {before} and {test}, whose "
                    "scores would share a column; rename one"
                )
        for arm in study.arms:
            _check_recipe(arm, study.settings)
        self.jobs = jobs
        self.environment = {**os.environ}
        if threads:
            self.environment["OMP_NUM_THREADS"] = str(threads)

    def run(self) -> list[Outcome]:
        """Do what is not done yet; the outcomes in the order of the arms.

        Raises:
            DataError: a training failed; the others were done all the same.
            KeyboardInterrupt: Ctrl-C; the same command goes on.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._all(self.study.pretraining)
        self._all(self.study.arms)
        return [self.outcome(arm) for arm in self.study.arms]

    def done(self) -> list[Outcome]:
        """The outcomes of those arms that need nothing any more, in their order."""
        return [
            self.outcome(arm)
            for arm in self.study.arms
            if not self.command(arm)
            and self._row(arm)
            and all(self._is_scored(arm, each) for each in self.tests)
        ]

    def _all(self, parts: Sequence[Pretraining | Arm]) -> None:
        began, failed = time.monotonic(), []
        pool = ThreadPoolExecutor(self.jobs)
        try:
            names = {pool.submit(self._one, each): each.name for each in parts}
            for done, future in enumerate(as_completed(names), 1):
                problem = future.result()
                if problem:
                    failed.append(f"{names[future]}: {problem}")
                left = len(parts) - done
                ahead_s = (time.monotonic() - began) / done * left
                print(
                    f"{names[future]}: {problem or 'done'}; {left} of {len(parts)} left, about "
                    f"{clock(ahead_s)}",
                    file=sys.stderr,
                    flush=True,
                )
        finally:
            # after Ctrl-C those at work save what they have learnt, and the rest does not begin
            pool.shutdown(cancel_futures=True)
        if failed:
            raise DataError("; ".join(failed))

    def _one(self, part: Pretraining | Arm) -> str:
        """Do one part; what went wrong, or ""."""
        command = self.command(part)
        if command and not self._called(part.name, command):
            return f"failed, see {self._log(part.name)}"
        if isinstance(part, Arm):
            for test in self.tests:
                path = self._score(part, test)
                command = ["evaluate", str(self.last(part)), str(test), "--json"]
                if not self._is_scored(part, test) and not self._called(part.name, command, path):
                    return f"cannot be evaluated on {test}, see {self._log(part.name)}"
        return ""

    def command(self, part: Pretraining | Arm) -> list[str]:
        """The arguments of `inktex` that do a part, or what is left of it; none if nothing is."""
        from ..training.checkpoint import Checkpoint
        from ..training.pretrained_encoder import PretrainedEncoder

        budget = self.budget.times(part.share)
        arm = isinstance(part, Arm)
        name = "train" if arm else "pretrain"
        command = [name, str(self.data), "--budget", str(budget), "-o", str(self.place(part.name))]
        command += ["--validate-every", "30m"]
        if isinstance(part, Arm) and part.labels < 1:
            command += ["--share", str(part.labels)]
        if isinstance(part, Arm) and part.teacher is not None:
            command += ["--teacher", part.teacher]
        last = self.last(part)
        if last.exists():
            loaded = Checkpoint.load(last) if arm else PretrainedEncoder.load(last)
            _check_same(loaded.recipe, part, self.study.settings, last)
            if budget.share(loaded.progress, steps_per_epoch=1) >= 1:
                self._check_data(loaded, part, last)
                return []
            return [*command, "--resume", str(last)]
        command += ["--recipe", part.recipe]
        for setting in {**self.study.settings, **part.settings}.items():
            command += ["--set", "=".join(setting)]
        if isinstance(part, Arm) and part.encoder is not None:
            encoder = next(each for each in self.study.pretraining if each.name == part.encoder)
            command += ["--encoder", str(self.last(encoder))]
        if isinstance(part, Arm) and part.start is not None:
            command += ["--from", part.start]
        return command

    def place(self, name: str) -> Path:
        """The folder of a part."""
        return self.folder / re.sub(r"[^0-9A-Za-z]+", "-", name)

    def last(self, part: Pretraining | Arm) -> Path:
        """The file that a part leaves, and from which it resumes."""
        from ..training.budget_callback import LAST
        from ..training.pretraining import FILE

        return self.place(part.name) / (LAST if isinstance(part, Arm) else FILE)

    def outcome(self, arm: Arm) -> Outcome:
        """What came of an arm that is done."""
        from ..training.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(self.last(arm))
        progress = checkpoint.progress
        row = self._row(arm)
        if row is None:
            raise DataError(
                f"{self.last(arm)}: expected a training that ended with a validation, found one "
                f"that was stopped after {progress.steps} steps; give a longer --budget"
            )
        return Outcome(
            arm.name,
            checkpoint.provenance["train"]["expressions"],
            progress.steps,
            progress.epoch,
            progress.cpu_s,
            progress.elapsed_s,
            row.get("validation", float("nan")),
            row["exp_rate"],
            {test.stem: json.loads(self._score(arm, test).read_text()) for test in self.tests},
        )

    def _row(self, arm: Arm) -> dict[str, float] | None:
        """What the log says at the last step of an arm, if it was validated there."""
        from ..training.checkpoint import Checkpoint
        from ..training.training_log import FILE, read_log

        steps = Checkpoint.load(self.last(arm)).progress.steps
        rows = reversed(read_log(self.place(arm.name) / FILE))
        return next((row for row in rows if "exp_rate" in row and row["step"] == steps), None)

    def _is_scored(self, arm: Arm, test: Path) -> bool:
        """Whether there is a score of the arm as it is, on the test as it is."""
        path = self._score(arm, test)
        if not path.exists() or modified(path) < max(modified(self.last(arm)), modified(test)):
            return False
        data: object = json.loads(path.read_text()).get("data")
        return data == str(test)

    @cached_property
    def _expressions(self) -> list[Expression]:
        from ..training.inkset import load_inkset

        return load_inkset(self.data)

    def _check_data(self, loaded: Any, part: Pretraining | Arm, last: Path) -> None:
        """Raise DataError where a training that is done has learnt from something else."""
        from ..training.inkset import fingerprint
        from ..training.split import some_of, split_expressions
        from ..training.warm_start import load_source

        learnt = loaded.provenance.get("train", {}).get("fingerprint")
        if learnt is None:
            return
        share = part.labels if isinstance(part, Arm) else 1.0
        recipe = loaded.recipe
        training, _ = split_expressions(
            self._expressions, recipe.validation_share, recipe.split_seed
        )
        training = some_of(training, share, recipe.split_seed)
        roles = {"source": part.start, "teacher": part.teacher} if isinstance(part, Arm) else {}
        others = [
            f"another {role}"
            for role, name in roles.items()
            if loaded.provenance.get(role) != (name and load_source(Path(name)).origin())
        ]
        if fingerprint(training) != learnt:
            others.append("other data, or another share of it")
        if others:
            raise DataError(
                f"{last}: expected a training as {part.name!r} of the study has it, found one with "
                f"{' and '.join(others)}; name another folder with -o"
            )

    def write(self, outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> None:
        """Leave everything in the folder as `RESULTS`."""
        write_json(
            self.folder / RESULTS,
            {
                **facts,
                "study": asdict(self.study),
                "budget": str(self.budget),
                "outcomes": [asdict(each) for each in outcomes],
            },
        )

    def _score(self, arm: Arm, test: Path) -> Path:
        return self.place(arm.name) / f"{test.stem}.json"

    def _log(self, name: str) -> Path:
        return self.place(name).with_suffix(".log")

    def _called(self, name: str, arguments: Sequence[str], output: Path | None = None) -> bool:
        """Run `inktex`; its output goes to the log of the part, or to a file where it succeeds."""
        command = [sys.executable, "-m", "inktex.core.cli", *arguments]
        with self._log(name).open("a") as log:
            log.write(f"$ inktex {shlex.join(arguments)}\n")
            log.flush()
            done = subprocess.run(
                command,
                env=self.environment,
                stdout=log if output is None else subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        if done.returncode == 0 and output is not None:
            output.write_bytes(done.stdout)
        return done.returncode == 0


def modified(path: Path) -> int:
    """When a file was written, in nanoseconds."""
    return path.stat().st_mtime_ns


def _check_recipe(arm: Arm, common: Mapping[str, str]) -> None:
    """Raise DataError where an arm cannot be trained, or not be compared with others."""
    from ..training.recipes import named

    try:
        recipe = named(arm.recipe).override({**common, **arm.settings})
    except DataError as error:
        raise DataError(f"arm {arm.name!r}: {error}") from error
    if not recipe.validation_share:
        raise DataError(
            f"arm {arm.name!r}: expected formulas to validate on, found validation_share 0; hold "
            "some out"
        )


def _check_same(
    recipe: Any, part: Pretraining | Arm, common: Mapping[str, str], last: Path
) -> None:
    """Raise DataError where a training that is there is not that of a part: its recipe, or one of
    its settings, is another."""
    asked = {**common, **part.settings}
    asked = {name: value for name, value in asked.items() if value != "auto"}  # since it was chosen
    if recipe.name != part.recipe or recipe.override(asked) != recipe:
        raise DataError(
            f"{last}: expected a training as {part.name!r} of the study has it, found one with "
            "another recipe or other settings; name another folder with -o"
        )
