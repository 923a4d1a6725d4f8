"""Studies: several trainings under one budget, side by side, and what came of each.

A study is a JSON file:

    {
      "budget": "60cpu-m",
      "settings": {"rendering.symbol_px": "16"},
      "pretraining": {"pretrained": {"recipe": "mask_and_match", "share": 0.5}},
      "arms": {
        "coverage": {"recipe": "coverage"},
        "without coverage": {"recipe": "coverage", "settings": {"model.coverage": "false"}},
        "pre-trained": {"recipe": "mask_and_match", "encoder": "pretrained", "share": 0.5}
      }
    }

`settings` are those of `--set`, the outer ones of every training; `share` is the part of the budget
that one of them gets, all of it by default; `labels` the part of the data that an arm learns from;
`encoder` the pre-training that it starts from. `from` and `teacher` are those of `inktex train`: a
checkpoint, a bundle, or "default".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.errors import DataError
from ..core.fields import Fields

BUILT_IN = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Pretraining:
    """An `inktex pretrain` that arms start from."""

    name: str
    recipe: str
    settings: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0


@dataclass(frozen=True)
class Arm:
    """An `inktex train`, one of those that are compared.

    Attributes:
        repeats: the arm of which this is one more, with another seed.
    """

    name: str
    recipe: str
    settings: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    labels: float = 1.0
    encoder: str | None = None
    start: str | None = None
    teacher: str | None = None
    repeats: str | None = None


@dataclass(frozen=True)
class Study:
    """What is trained, and under which budget."""

    budget: str
    settings: Mapping[str, str]
    pretraining: tuple[Pretraining, ...]
    arms: tuple[Arm, ...]

    @classmethod
    def read(cls, name: str) -> Study:
        """A study that comes with inktex, or one in a file.

        Raises:
            DataError: there is none, or it is not as described above.
        """
        path = BUILT_IN / f"{name}.json"
        if not path.is_file():
            path = Path(name)
        known = ", ".join(sorted(each.stem for each in BUILT_IN.glob("*.json")))
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"expected a study out of {known}, or a file, found {name!r}") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: expected a study in JSON ({error})") from error
        problems: list[str] = []
        found = cls._of(Fields(content, "", problems))
        names = {each.name for each in found.pretraining}
        for arm in found.arms:
            if arm.encoder is not None and arm.encoder not in names:
                problems.append(f"arms[{arm.name!r}].encoder: expected one of {sorted(names)}")
        if problems:
            raise DataError(f"{path}: {problems[0]}; benchmarks/study.py tells what stands there")
        return found

    def with_seeds(self, count: int) -> Study:
        """Every arm so often: as it is, and with the seeds that follow its own.

        Raises:
            DataError: the seed of an arm is not a number.
        """
        arms: list[Arm] = []
        for arm in self.arms:
            told = {"seed": "1", **self.settings, **arm.settings}["seed"]
            if not told.isdecimal():
                raise DataError(
                    f"arm {arm.name}: expected a whole number as its seed, found {told}"
                )
            arms.append(arm)
            for seed in range(int(told) + 1, int(told) + count):
                settings = {**arm.settings, "seed": str(seed)}
                name = f"{arm.name}, seed {seed}"
                arms.append(replace(arm, name=name, settings=settings, repeats=arm.name))
        return replace(self, arms=tuple(arms))

    @classmethod
    def _of(cls, fields: Fields) -> Study:
        known = {"budget", "settings", "pretraining", "arms"}
        for name in fields.content.keys() - known:
            fields.problems.append(f"{name}: expected one of {', '.join(sorted(known))}")
        has = fields.content.keys()
        pretraining = fields.named("pretraining") if "pretraining" in has else {}
        arms = fields.named("arms")
        common = ("recipe", "settings", "share")
        for parts, allowed in (
            (pretraining, common),
            (arms, (*common, "labels", "encoder", "from", "teacher")),
        ):
            for part in parts.values():
                for name in part.content.keys() - set(allowed):
                    fields.problems.append(
                        f"{part.path(name)}: expected one of {', '.join(allowed)}"
                    )
        return cls(
            fields.text("budget"),
            _settings(fields),
            tuple(
                Pretraining(name, each.text("recipe"), _settings(each), _share(each, "share"))
                for name, each in pretraining.items()
            ),
            tuple(
                Arm(
                    name,
                    each.text("recipe"),
                    _settings(each),
                    _share(each, "share"),
                    _share(each, "labels"),
                    *(
                        each.text(key) if key in each.content else None
                        for key in ("encoder", "from", "teacher")
                    ),
                )
                for name, each in arms.items()
            ),
        )


def _settings(fields: Fields) -> dict[str, str]:
    """`settings`, which may be missing; numbers and truths as JSON writes them."""
    if "settings" not in fields.content:
        return {}
    given = fields.mapping("settings")
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }


def _share(fields: Fields, name: str) -> float:
    """A share, all of it where nothing is said."""
    if name not in fields.content:
        return 1.0
    found = fields.number(name)
    if not 0 < found <= 1:
        fields.problems.append(f"{fields.path(name)}: expected a share above 0, at most 1")
    return found
