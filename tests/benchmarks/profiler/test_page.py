from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from inktex.benchmarks.profiler.growth import Growth
from inktex.benchmarks.profiler.offline import Batch
from inktex.benchmarks.profiler.page import check_page, write_page, write_plots
from inktex.benchmarks.profiler.profile import Profile
from inktex.core.errors import RuntimeUnavailable


def test_a_page_shows_every_section_and_needs_nothing_else(
    profile: Callable[..., Profile], tmp_path: Path
) -> None:
    points = [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    law = Growth(
        "encoder over image", "<b> for $1_{$", "megapixels", "ms", 1.0, 1.0, 1.0, 0.6, points
    )
    whole = replace(
        profile(1.0, 2.0), growth=[law], batches=[Batch("a", 1, 2.0), Batch("a", 2, 1.5)]
    )
    write_page(whole, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for title in ("One after the other", "Where the time goes", "Growth", "Batches"):
        assert f"<h2>{title}" in text
    assert text.count("<svg") == 4
    for svg in text.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + svg.partition("</svg>")[0] + "</svg>")
    assert "&lt;b&gt;" in text
    named = re.findall(r'\bid="([^"]*)"', text)
    assert len(named) == len(set(named)) > 100
    assert set(re.findall(r'(?:url\(#|href="#)([^")]*)', text)) <= set(named)
    assert "src=" not in text
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]
    files = write_plots(whole, tmp_path / "plots")
    assert [file.name for file in files] == [
        "01-one-after-the-other.svg", "02-where-the-time-goes.svg", "03-growth.svg",
        "04-batches-of-the-encoder.svg",
    ]  # fmt: skip
    for file in files:
        assert ElementTree.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_without_plots_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    check_page()
    module: Any = sys.modules[check_page.__module__]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailable, match=r"jinja2 and matplotlib; pip install 'inktex\["):
        check_page()
