from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from inktex.benchmarks.formulas import Formula, inkml
from inktex.benchmarks.profiler.contender import STAGES
from inktex.benchmarks.profiler.dataset import OWN, load_data
from inktex.benchmarks.profiler.stages import ClockedModel, StagedReader
from inktex.core.bundle import Bundle
from inktex.runtimes import load


def test_the_clocks_change_no_answer_and_lose_no_time(
    tiny_bundle: Bundle, formulas: list[Formula]
) -> None:
    plain = load(tiny_bundle, threads=1)
    read = StagedReader(load(tiny_bundle, threads=1), beams=3)
    lost = []
    for formula in formulas:
        file = Formula(formula.name, inkml(formula.source))
        expected, found = plain(formula.source, beam=3), read(file)
        assert found.tokens == expected.tokens
        assert tuple(found.stages_ms) == STAGES
        # the tiny recognizer was exported without rescoring
        assert found.stages_ms["rescore"] == 0
        assert all(each > 0 for name, each in found.stages_ms.items() if name != "rescore")
        assert found.steps >= len(found.tokens)
        lost.append(1 - sum(found.stages_ms.values()) / found.total_ms)
    # but for what lies between two looks at the clock, where no other process came between
    assert 0 <= min(lost) < 0.2


def test_the_ink_that_comes_with_inktex_tells_what_it_is(tiny_bundle: Bundle) -> None:
    data = load_data(OWN, 3, tiny_bundle.manifest.preprocessing)
    assert data.captioned
    assert all(area > 256 for area in data.areas)
    assert data.formulas[0].caption == ("x", "^", "{", "2", "}")


def test_a_model_that_nobody_can_watch_is_timed_by_its_calls(tiny_bundle: Bundle) -> None:
    class Slow:
        vocabulary_size = 3

        def encode(self, images: object) -> list[object]:
            time.sleep(0.02)
            return [images]

        def step(self, tokens: object, memory: object, state: object) -> tuple[object, object]:
            return tokens, state

        def start(self, memory: object, beams: int) -> int:
            return beams

        def reorder(self, state: object, order: object) -> object:
            time.sleep(0.02)
            return state

    model = ClockedModel(Slow())  # type: ignore[arg-type]
    model.encode(np.zeros((1, 1, 16, 16), np.float32))
    assert model.encoder_graph.ms == model.encodes.ms > 15
    encoded_ms = model.encodes.ms
    model.reorder(model.start(None, 2), np.array([1, 0]))
    assert (model.states.calls, model.states.ms > 15) == (2, True)
    assert model.stages_ms == pytest.approx(
        {"encode": encoded_ms, "step": 0, "rescore": 0, "adapter": model.states.ms}
    )
    assert model.calls_ms == pytest.approx(sum(model.stages_ms.values()))
    model.reset()
    assert model.encodes.ms == model.calls_ms == 0


@pytest.mark.parametrize("call", ["start", "reorder"])
def test_what_makes_and_gathers_states_is_the_adapter(
    tiny_bundle: Bundle, formulas: list[Formula], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    recognizer = load(tiny_bundle, threads=1)
    own = getattr(recognizer.model, call)

    def slow(*arguments: Any) -> Any:
        time.sleep(0.02)
        return own(*arguments)

    monkeypatch.setattr(recognizer.model, call, slow)
    found = StagedReader(recognizer, beams=3)(formulas[0])
    assert found.stages_ms["adapter"] > 15
    assert found.stages_ms["search"] < found.stages_ms["adapter"]
    assert 0 <= 1 - sum(found.stages_ms.values()) / found.total_ms < 0.2


def test_a_state_of_a_draft_is_made_by_the_adapter(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load(tiny_bundle, threads=1).model
    monkeypatch.setattr(own, "resume", lambda *arguments: time.sleep(0.02))
    model = ClockedModel(own)
    model.resume({}, np.array([0]), None)
    assert model.stages_ms["adapter"] > 15
