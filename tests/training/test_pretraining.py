from __future__ import annotations

import csv
import dataclasses
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inktex.core.errors import CheckpointError, DataError, TrainingError
from inktex.training import pretraining
from inktex.training.budget import Budget
from inktex.training.contrastive import ContrastiveTask
from inktex.training.optimisation import learning_rate
from inktex.training.pretrained_encoder import PretrainedEncoder, load_encoder
from inktex.training.pretraining_recipe import PretrainingRecipe, Stage
from inktex.training.pretraining_recipe import pretraining as pretraining_of

from . import synthetic, tiny_pretraining
from .synthetic import expressions

TRAIN, VALIDATION = expressions(14), expressions(60)[50:56]


def pretrain(
    folder: Path, budget: str, recipe: PretrainingRecipe | None = None, **options: Any
) -> PretrainedEncoder:
    return pretraining.pretrain(
        recipe or tiny_pretraining.recipe({"contrastive_share": "0.5"}),
        TRAIN,
        VALIDATION,
        Budget.parse(budget),
        folder,
        accelerator="cpu",
        **options,
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / pretraining.LOG).open(newline="") as file:
        return list(csv.DictReader(file))


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As if Ctrl-C were pressed during step `step`."""
    calls = 0

    def pressed(share: float, settings: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == step:
            signal.raise_signal(signal.SIGINT)
        return learning_rate(share, settings)

    monkeypatch.setattr(pretraining, "learning_rate", pressed)


def test_a_pretraining_that_diverges_is_one_error_and_writes_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "learning_rate", lambda share, settings: float("inf"))
    with pytest.raises(TrainingError, match=r"after step 1.*nothing was saved before it"):
        pretrain(tmp_path, "9steps", validate_every_s=0.0)
    assert not list(tmp_path.iterdir())


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def test_both_stages_share_the_budget_and_leave_an_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = pretrain(tmp_path, "6steps")
    assert (last.stage, last.progress.steps, last.progress.batches) == ("masking", 6, 6)
    assert last.provenance["train"]["expressions"] == len(TRAIN)
    assert last.provenance["validation"]["expressions"] == len(VALIDATION)
    assert {each.name for each in tmp_path.iterdir()} == {"encoder.safetensors", "log.csv"}
    log = rows(tmp_path)
    assert [(row["step"], row["stage"]) for row in log] == [("3", "contrast"), ("6", "masking")]
    told = {name for row in log for name, value in row.items() if value}
    assert told == set(pretraining.COLUMNS)
    assert float(log[0]["rank"]) > 1
    assert float(log[0]["spread"]) > 0
    assert float(log[1]["masked"]) == pytest.approx(0.15 + 0.45 * 2 / 3)
    measured = last.provenance["measured"]
    assert measured["masking"]["explained"] == pytest.approx(float(log[1]["explained"]), abs=1e-4)
    assert measured["contrast"]["rank"] == pytest.approx(float(log[0]["rank"]), abs=1e-4)
    output = capsys.readouterr().out
    assert "step 3  contrast  epoch 0  50 %  0 min left  local" in output
    assert "100 %" in output


def test_each_stage_teaches_its_own_part(tmp_path: Path) -> None:
    recipe = tiny_pretraining.recipe({"contrastive_share": "0.5"})
    torch.manual_seed(recipe.seed)
    fresh = recipe.model.build(synthetic.vocabulary()).get_submodule("encoder").state_dict()
    torch.manual_seed(recipe.seed)
    first = pretrain(tmp_path / "one", "3steps", recipe.override({"contrastive_share": "1.0"}))
    assert first.stage == "contrast"
    both = pretrain(tmp_path / "both", "6steps", recipe)
    trunk = {name for name in fresh if name.startswith("trunk.")}
    moved = {name for name in fresh if not torch.equal(fresh[name], first.encoder[name])}
    assert moved <= trunk
    assert moved >= {name for name in trunk if name.endswith("weight")}
    later = {name for name in fresh if not torch.equal(fresh[name], both.encoder[name])} - trunk
    assert {"projection.weight", "attention.mask_token", "attention.layers.0.qkv.weight"} <= later
    # the second stage leaves the convolutions as the first one has made them
    alone = pretrain(tmp_path / "half", "6steps", recipe.override({"masking.end": "0.3"}))
    assert_same(
        {name: both.encoder[name] for name in trunk}, {name: alone.encoder[name] for name in trunk}
    )


@pytest.mark.parametrize("step", [2, 3, 5])
def test_an_interrupted_one_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Ctrl-C in the first stage, at its end, and in the second; dropout and masks go on too."""
    recipe = tiny_pretraining.recipe({"contrastive_share": "0.5", "model.dropout": "0.3"})
    whole = pretrain(tmp_path / "whole", "6steps", recipe)
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            pretrain(tmp_path / "parts", "6steps", recipe)
    assert signal.getsignal(signal.SIGINT) is before
    path = tmp_path / "parts" / pretraining.FILE
    first = PretrainedEncoder.load(path)
    assert first.progress.steps == step
    assert load_encoder(tiny_pretraining.network(), path) == ()  # as useful as any
    torch.manual_seed(99)
    second = pretrain(tmp_path / "parts", "6steps", first.recipe, resume=first)
    assert second.progress.steps == 6
    assert second.progress.elapsed_s > first.progress.elapsed_s
    for group in ("encoder", "heads", "optimizer"):
        assert_same(getattr(second, group), getattr(whole, group))
    assert second.provenance == whole.provenance


def test_a_log_forgets_what_a_killed_one_has_learnt_in_vain(tmp_path: Path) -> None:
    recipe = tiny_pretraining.recipe()
    first = pretrain(tmp_path, "4steps", recipe, validate_every_s=0.0)
    log = tmp_path / pretraining.LOG
    before = log.read_text()
    columns = before.splitlines()[0].count(",")
    log.write_text(f"{before}7,masking{',' * (columns - 1)}\n9,mas")
    pretrain(tmp_path, "5steps", first.recipe, resume=first)
    assert log.read_text().startswith(before)
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 5


def test_watching_does_not_change_it(tmp_path: Path) -> None:
    calm = pretrain(tmp_path / "calm", "4steps")
    watched = pretrain(tmp_path / "watched", "4steps", validate_every_s=0.0)
    assert_same(calm.encoder, watched.encoder)
    assert len([row for row in rows(tmp_path / "watched") if row["rank"]]) == 2
    assert len([row for row in rows(tmp_path / "watched") if row["explained"]]) == 2


def test_the_rate_rises_and_falls_in_each_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []

    def noted(share: float, settings: Any) -> float:
        shares.append(share)
        return learning_rate(share, settings)

    monkeypatch.setattr(pretraining, "learning_rate", noted)
    pretrain(tmp_path, "6steps")
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 0, 1 / 3, 2 / 3])


def test_an_encoder_without_attention_has_one_stage(tmp_path: Path) -> None:
    recipe = pretraining_of(synthetic.recipe())
    recipe = recipe.override({"contrast.projection": "8", "optimisation.precision": "fp32"})
    last = pretrain(tmp_path, "2steps", recipe)
    assert last.stage == "contrast"
    network = synthetic.network(seed=9)
    assert load_encoder(network, tmp_path / pretraining.FILE) == ()
    assert_same(last.encoder, network.encoder.state_dict())


def test_stages_take_the_whole_budget() -> None:
    encoder = tiny_pretraining.encoder()

    def stages(share: str, layers: str = "1") -> tuple[Stage, ...]:
        recipe = tiny_pretraining.recipe(
            {"contrastive_share": share, "model.attention_layers": layers}
        )
        return recipe.stages(recipe.model.build(synthetic.vocabulary()).get_submodule("encoder"))

    assert tiny_pretraining.recipe().stages(encoder) == (
        Stage("contrast", 0.0, 0.7),
        Stage("masking", 0.7, 1.0),
    )
    assert stages("0.0") == (Stage("masking", 0.0, 1.0),)
    assert stages("1.0") == (Stage("contrast", 0.0, 1.0),)
    assert stages("0.7", layers="0") == (Stage("contrast", 0.0, 1.0),)
    with pytest.raises(DataError, match="contrastive_share must be a share from 0 to 1"):
        stages("1.5")
    with pytest.raises(DataError, match=r"trail false, .* found true; leave it out here"):
        tiny_pretraining.recipe({"rendering.trail": "true"})


def test_bf16_learns_too(tmp_path: Path) -> None:
    recipe = tiny_pretraining.recipe({"contrastive_share": "0.5", "optimisation.precision": "bf16"})
    last = pretrain(tmp_path, "2steps", recipe)
    assert all(each.dtype != torch.bfloat16 for each in last.encoder.values())
    assert all(torch.isfinite(each).all() for each in last.encoder.values())


def test_what_cannot_be_is_refused_before_it_starts(tmp_path: Path) -> None:
    recipe = tiny_pretraining.recipe()

    def attempt(
        some: Any, resume: PretrainedEncoder | None = None, changed: PretrainingRecipe = recipe
    ) -> PretrainedEncoder:
        folder, budget = tmp_path / "run", Budget(2, "steps")
        return pretraining.pretrain(
            changed, some, [], budget, folder, resume=resume, accelerator="cpu"
        )

    with pytest.raises(DataError, match="expected ink to pre-train on, found none"):
        attempt([])
    settings = recipe.optimisation
    for changed in (
        dataclasses.replace(settings, accumulate=2),
        dataclasses.replace(settings, freeze_encoder=True),
    ):
        with pytest.raises(DataError, match="pre-training does not know"):
            attempt(TRAIN, changed=dataclasses.replace(recipe, optimisation=changed))
    assert not (tmp_path / "run").exists()
    done = attempt(TRAIN)
    assert done.provenance["measured"] == {}  # nothing was held out
    with pytest.raises(CheckpointError, match="some of its budget left, found one of 2 steps"):
        attempt(TRAIN, done)
    early = dataclasses.replace(done, progress=dataclasses.replace(done.progress, steps=1))
    with pytest.raises(DataError, match=r"expected the 14 expressions .* found 13, not the same"):
        attempt(TRAIN[1:], early)


def test_a_failure_while_learning_leaves_no_half_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ContrastiveTask, *arguments: Any) -> Any:
        raise RuntimeError("broken")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(ContrastiveTask, "forward", broken)
    with pytest.raises(RuntimeError, match="broken"):
        pretrain(tmp_path, "2steps")
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("thesis")
    with pytest.raises(DataError, match=r"log.csv cannot be written .*name another folder"):
        pretrain(tmp_path / "taken", "1step")
    assert (tmp_path / "taken").read_text() == "thesis"
