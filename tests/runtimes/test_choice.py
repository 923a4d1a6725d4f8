from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inktex.core.bundle import Bundle, Variant, write_bundle
from inktex.core.errors import BundleError, InputError, RuntimeUnavailable
from inktex.runtimes import choice as choice_module
from inktex.runtimes import choose, load
from inktex.runtimes.cache_folder import cache_folder
from inktex.runtimes.choice import Choice, fastest, forget, measure
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel


class Slow:
    """A model that takes longer to encode."""

    def __init__(self, model: OnnxRuntimeModel, seconds: float) -> None:
        self.model, self.seconds = model, seconds

    def encode(self, images: Any) -> Any:
        time.sleep(self.seconds)
        return self.model.encode(images)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def maker(bundle: Bundle, slow: str, made: list[str] | None = None) -> Callable[[Variant], Any]:
    def make(variant: Variant) -> Any:
        if made is not None:
            made.append(variant.precision)
        model = OnnxRuntimeModel(bundle, variant, threads=1)
        return Slow(model, 0.02 if variant.precision == slow else 0.0)

    return make


@pytest.mark.parametrize(("slow", "wins"), [("fp32", "int8"), ("int8", "fp32")])
def test_the_fastest_wins_and_is_remembered(
    two_variants: Bundle, own_cache: Path, slow: str, wins: str
) -> None:
    variants, made = two_variants.manifest.variants, list[str]()
    choice = fastest(two_variants, variants, 1, maker(two_variants, slow, made))
    assert choice is not None
    assert (choice.runtime, choice.precision) == ("onnxruntime", wins)
    assert choice.measured_ms[f"onnxruntime {slow}"] >= 20
    assert f"against onnxruntime {slow} " in choice.why
    assert fastest(two_variants, variants, 1, maker(two_variants, slow, made)) == choice
    assert sorted(made) == ["fp32", "int8"]  # once each
    assert len(list(own_cache.rglob("*.json"))) == 1
    fastest(two_variants, variants, 2, maker(two_variants, slow, made))
    assert len(made) == 4  # other threads, another choice
    fastest(two_variants, variants, 2, maker(two_variants, slow, made), "cuda")
    assert len(made) == 6  # another provider, likewise
    forget(two_variants)
    assert not list(own_cache.rglob("*.json"))


class Clock:
    """Stands still, but for what it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("fp32_ms", "int8_ms", "tree", "wins"),
    [
        (11.5, 10.0, "", "int8"),
        (10.9, 10.0, "", "fp32"),
        (10.9, 10.0, "int8", "int8"),
        (10.0, 10.9, "int8", "int8"),
        (10.0, 11.5, "int8", "fp32"),
    ],
)
def test_of_those_as_fast_one_that_reads_trees_is_taken_or_the_first(
    two_variants: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    fp32_ms: float,
    int8_ms: float,
    tree: str,
    wins: str,
) -> None:
    clock = Clock()
    monkeypatch.setattr(choice_module, "time", clock)
    took = {"fp32": fp32_ms, "int8": int8_ms}

    class Clocked(Slow):
        def encode(self, images: Any) -> Any:
            clock.now += self.seconds
            return self.model.encode(images)

    def make(variant: Variant) -> Any:
        model = OnnxRuntimeModel(two_variants, variant, threads=1)
        return Clocked(model, took[variant.precision] / 1e3)

    variants = [
        replace(each, tree="tree.onnx") if each.precision == tree else each
        for each in two_variants.manifest.variants
    ]
    choice = measure(two_variants, variants, make)
    assert choice is not None
    assert choice.precision == wins
    assert choice.why.startswith("one of the" if max(took.values()) < 11 else "the fastest")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"runtime": "x", "precision": "y", "why": "z"}']
)
def test_a_damaged_memory_is_measured_over(
    two_variants: Bundle, own_cache: Path, content: str
) -> None:
    variants = two_variants.manifest.variants
    first = fastest(two_variants, variants, 1, maker(two_variants, "fp32"))
    [file] = own_cache.rglob("*.json")
    file.write_text(content)
    again = fastest(two_variants, variants, 1, maker(two_variants, "fp32"))
    assert first is not None
    assert again is not None
    assert again.precision == first.precision == "int8"
    assert json.loads(file.read_text())["precision"] == "int8"


def test_a_cache_that_cannot_be_written_is_no_error(
    two_variants: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("INKTEX_CACHE", str(tmp_path / "file"))
    variants = two_variants.manifest.variants
    choice = fastest(two_variants, variants, 1, maker(two_variants, "fp32"))
    assert choice is not None
    assert choice.precision == "int8"


def test_what_cannot_be_loaded_or_reads_wrongly_is_no_candidate(two_variants: Bundle) -> None:
    variants = two_variants.manifest.variants
    good = maker(two_variants, "")

    def failing(variant: Variant) -> Any:
        if variant.precision == "int8":
            raise RuntimeUnavailable("no such processor")
        return good(variant)

    choice = measure(two_variants, variants, failing)
    assert choice is not None
    assert (choice.precision, choice.failed) == ("fp32", {"onnxruntime int8": "no such processor"})

    class Silent(Slow):
        def step(self, tokens: Any, memory: Any, state: Any) -> Any:
            log_probs, following = self.model.step(tokens, memory, state)
            log_probs = log_probs * 0 - 20
            log_probs[:, 2] = 0  # it ends at once
            return log_probs, following

    def silent(variant: Variant) -> Any:
        return Silent(good(variant), 0) if variant.precision == "fp32" else good(variant)

    choice = measure(two_variants, variants, silent)
    assert choice is not None
    assert choice.precision == "int8"
    assert "inktex verify" in choice.failed["onnxruntime fp32"]

    def none(variant: Variant) -> Any:
        raise RuntimeUnavailable("gone")

    assert measure(two_variants, variants, none) is None


def test_a_precision_may_be_called_anything(two_variants: Bundle) -> None:
    first, second = two_variants.manifest.variants
    named = [replace(first, precision="int 8"), replace(second, precision="")]
    choice = measure(two_variants, named, maker(two_variants, ""))
    assert choice is not None
    assert any(map(choice.names, named))


def test_without_a_golden_formula_the_first_is_taken(tmp_path: Path, two_variants: Bundle) -> None:
    manifest = replace(two_variants.manifest, golden=None)
    files = {name: two_variants.path / name for name in manifest.files if name != "golden.npz"}
    bundle = write_bundle(tmp_path / "bare", replace(manifest, files={}), files)
    assert measure(bundle, manifest.variants, maker(bundle, "")) is None
    running, _ = choose(bundle)
    assert running.precision == manifest.variants[0].precision
    assert running.why == "the bundle's first that runs here"


def test_a_graph_that_a_runtime_refuses_leaves_the_others(
    tmp_path: Path, two_variants: Bundle
) -> None:
    first, second = two_variants.manifest.variants
    manifest = replace(
        two_variants.manifest, golden=None, variants=(replace(first, encoder=first.step), second)
    )
    files = {name: two_variants.path / name for name in manifest.files if name != "golden.npz"}
    bundle = write_bundle(tmp_path / "bare", replace(manifest, files={}), files)
    running, _ = choose(bundle)
    assert running.precision == second.precision
    assert running.why.startswith("the next, since onnxruntime: ")
    assert repr(first.step) in running.why  # the graph that stands in the encoder's place
    with pytest.raises(BundleError, match="are not as the manifest says"):
        choose(bundle, precision=first.precision)


@pytest.mark.parametrize("option", ["runtime", "precision"])
def test_what_is_no_name_is_refused(two_variants: Bundle, option: str) -> None:
    with pytest.raises(InputError, match=f"{option}: expected a name, such as 'auto', found None"):
        load(two_variants, **{option: None})  # type: ignore[arg-type]


def test_a_recognizer_tells_what_runs_and_why(two_variants: Bundle) -> None:
    running = load(two_variants).running
    assert running is not None
    assert "the fastest here" in running.why
    named = load(two_variants, precision="fp32").running
    assert named is not None
    assert (named.runtime, named.precision) == ("onnxruntime", "fp32")
    assert named.why == "there is no other to choose from"


@pytest.mark.parametrize(
    ("told", "chosen"),
    [
        ({"drop": 0.8, "max_drop": 0.5}, {"fp32"}),
        ({"drop": 0.5, "max_drop": 0.5}, {"fp32", "int8"}),
        ({"drop": "much"}, {"fp32", "int8"}),
    ],
)
def test_what_loses_more_than_it_may_is_not_chosen(
    tmp_path: Path, two_variants: Bundle, told: dict[str, Any], chosen: set[str]
) -> None:
    variants = tuple(
        replace(each, exp_rate={"quantization": told}) if each.precision == "int8" else each
        for each in two_variants.manifest.variants
    )
    manifest = replace(two_variants.manifest, variants=variants)
    bundle = write_bundle(tmp_path / "told", manifest, two_variants.contents())
    assert choose(bundle, "onnxruntime", threads=1)[0].precision in chosen
    assert choose(bundle, "onnxruntime", "int8", threads=1)[0].precision == "int8"


def test_where_caches_belong(tmp_path: Path) -> None:
    home = tmp_path
    assert cache_folder({"INKTEX_CACHE": "/x"}, "darwin", home) == Path("/x")
    assert cache_folder({}, "linux", home) == home / ".cache" / "inktex"
    assert cache_folder({}, "darwin", home) == home / "Library" / "Caches" / "inktex"
    assert cache_folder({}, "win32", home) == home / "AppData" / "Local" / "inktex"
    assert cache_folder({"LOCALAPPDATA": "/l"}, "win32", home) == Path("/l") / "inktex"


def test_a_user_whom_the_system_does_not_know_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert cache_folder({"XDG_CACHE_HOME": "/x"}, "linux") == Path("/x") / "inktex"
    assert cache_folder({"LOCALAPPDATA": "/l"}, "win32") == Path("/l") / "inktex"
    for system in ("linux", "win32", "darwin"):
        assert cache_folder({}, system) == Path(tempfile.gettempdir()) / "inktex"


def test_choices_are_plain_data() -> None:
    choice = Choice("a", "b", "c", {"a b": 1.0})
    assert Choice(**json.loads(json.dumps(choice.to_dict()))) == choice
