from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inktex.core.manifest import Preprocessing
from inktex.core.preparation import prepare_image
from inktex.core.recognizer import Alternative
from inktex.training.error_page import mathml, write_error_page
from inktex.training.evaluation import Reading, Sample

PREPROCESSING = Preprocessing("normalised-ink", {"multiple": 16, "max_pixels": 1 << 16})
STROKES = [np.array([[0.0, 0.0], [10.0, 20.0]]), np.array([[10.0, 0.0], [0.0, 20.0]])]
NAMELESS = frozenset({"meta", "img", "link", "br"})  # elements that have no end tag


class Page(HTMLParser):
    """Articles with their attributes, and the text below each kind of element in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.articles: list[dict[str, Any]] = []
        self.options: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "article":
            self.articles.append({**dict(attrs), "mark": [], "math": 0, "images": [], "text": ""})
        if tag == "math":
            self.articles[-1]["math"] += 1
        if tag == "img":
            self.articles[-1]["images"].append(dict(attrs)["src"])
        if tag not in NAMELESS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "math" in self.open or tag in NAMELESS

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "article" in self.open:
            self.articles[-1]["text"] += data
            if self.open[-1] == "mark":
                self.articles[-1]["mark"].append(data)
        elif self.open[-1:] == ["option"]:
            self.options.append(data)
        elif self.open[-1:] == ["h1"]:
            self.headings.append(data)


def write(path: Path, readings: list[Reading], **options: Any) -> Page:
    samples = [Sample(each.identifier, STROKES, each.caption) for each in readings]
    write_error_page(path, "a < b", "5 % & more", samples, readings, PREPROCESSING, **options)
    text = path.read_text(encoding="utf-8")
    assert "http" not in text  # nothing is fetched
    return Page(text)


def reading(name: str, caption: str, read: str, **more: Any) -> Reading:
    return Reading(name, tuple(caption.split()), tuple(read.split()), 0.25, -0.5, **more)


def test_a_wrong_reading_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    others = (
        Alternative("", ("x", "<", "1"), 0.125, -0.7),
        Alternative("", ("X",), 0.0625, -0.9),
    )
    wrong = reading("sum 1", "x < 1", r"x \leq 1 1", alternatives=others)
    page = write(tmp_path / "errors.html", [reading("right", "x", "x"), wrong])
    [article] = page.articles
    assert article["data-identifier"] == "sum 1"
    assert article["data-distance"] == "2"
    assert article["data-confidence"] == "0.25"
    assert article["data-kinds"] == "substituted|extra|none of these"
    # the reference, the answer, again the answer as the best of three, the second is right
    assert article["math"] == 5
    words = " ".join(article["text"].split())
    assert "2 token edits · confidence 0.250" in words
    assert "the 3 best readings" in words
    for number in ("0.125", "-0.700", "0.062", "-0.900"):
        assert number in words
    assert sorted(article["mark"]) == ["1", "1", "<", "X", r"\leq", r"\leq"]
    assert "x < 1" in words
    assert page.headings == ["a < b"]


def test_the_image_is_what_the_recognizer_sees(tmp_path: Path) -> None:
    page = write(tmp_path / "errors.html", [reading("a", "x", "y")])
    [source] = page.articles[0]["images"]
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        pixels = np.asarray(picture)
    seen = prepare_image(STROKES, PREPROCESSING)[0, 0]
    np.testing.assert_array_equal(pixels, np.rint(255 * (1 - seen)))


def test_nothing_from_the_data_is_taken_for_html(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>&amp;'
    caption = "x < <b> & y"
    wrong = reading(evil, caption, "<i>", alternatives=(Alternative("", ("</table>",), 0.1, -1),))
    path = tmp_path / "errors.html"
    page = write(path, [wrong])
    [article] = page.articles
    assert article["data-identifier"] == evil
    assert evil in article["text"]
    assert "<b>" in article["mark"]
    text = path.read_text(encoding="utf-8")
    assert text.count("<script>") == 1
    assert "<b>" not in text
    assert "<i>" not in text


def test_what_cannot_be_drawn_is_shown_as_source(tmp_path: Path) -> None:
    page = write(tmp_path / "errors.html", [reading("a", "x ^ { 2 }", "x ^ {")])
    [article] = page.articles
    assert article["math"] == 1  # the reference
    assert "x ^ {" in " ".join(article["text"].split())
    assert article["mark"] == ["2", "}"]


def test_what_could_not_be_read_says_why(tmp_path: Path) -> None:
    blank = Reading("blank", ("x",), (), nan, problem="blank: expected ink, found none")
    path = tmp_path / "errors.html"
    write_error_page(path, "t", "f", [Sample("blank", [], ("x",))], [blank], PREPROCESSING)
    [article] = Page(path.read_text(encoding="utf-8")).articles
    assert article["images"] == []
    assert article["data-kinds"].split("|")[0] == "unreadable"
    assert article["data-confidence"] == "0.0"
    assert "expected ink, found none" in article["text"]


def test_every_kind_can_be_chosen(tmp_path: Path) -> None:
    readings = [
        reading("substituted", r"\sqrt { x }", r"\sqrt { y }"),
        reading("missing", "x + 1", "x 1"),
        reading("extra", r"\sum \limits _ { i } 1", r"\sum \limits _ { i } 1 1"),
        reading(
            "layout", r"\frac { x _ { 1 } ^ { 2 } } { y }", r"\frac { x ^ { 2 } _ { 1 } } { y }"
        ),
        reading("unreadable", "x", "", problem="too large"),
    ]
    page = write(tmp_path / "errors.html", readings)
    kinds = {each["data-identifier"]: set(each["data-kinds"].split("|")) for each in page.articles}
    assert kinds["substituted"] == {"substituted", "roots"}
    assert kinds["missing"] == {"missing", "none of these"}
    assert kinds["extra"] == {"extra", "big operators"}
    assert {"same layout", "fractions", "scripts"} <= kinds["layout"]
    assert "same layout" not in kinds["missing"]
    assert kinds["unreadable"] == {"unreadable", "none of these"}
    assert set.union(*kinds.values()) <= set(page.options)


def test_a_limit_spreads_what_is_shown_and_says_so(tmp_path: Path) -> None:
    readings = [reading(f"r{number}", "x", "xy"[number % 2]) for number in range(20)]
    path = tmp_path / "errors.html"
    page = write(path, readings, limit=5)
    assert [each["data-identifier"] for each in page.articles] == ["r1", "r5", "r9", "r13", "r17"]
    assert "10 of 20 formulas; 5 of them" in path.read_text(encoding="utf-8")
    whole = write(path, readings, limit=10)
    assert len(whole.articles) == 10
    assert "of them" not in path.read_text(encoding="utf-8").split("<nav>")[0]
    assert [each.name for each in tmp_path.iterdir()] == ["errors.html"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("x ^ { 2 }", "<msup><mi>x</mi><mrow><mn>2</mn></mrow></msup>"),
        (r"\frac { 1 } { y }", "<mfrac><mrow><mn>1</mn></mrow><mrow><mi>y</mi></mrow></mfrac>"),
        ("x < y", "<mo>&lt;</mo>"),
        (r"\sum \limits _ { i } i", "<munder><mo>∑</mo>"),
        (r"a \rightarrow \infty", "<mo>→</mo>"),
    ],
)
def test_mathematics_is_markup_that_browsers_draw(caption: str, expected: str) -> None:
    found = mathml(caption.split())
    assert found is not None
    assert found.startswith('<math displaystyle="true">')
    assert expected in found


@pytest.mark.parametrize("caption", ["", "x ^", "{ x", r"\frac { 1", r"\left ( x", "x _ 1 _ 2"])
def test_what_is_no_formula_has_no_markup(caption: str) -> None:
    assert mathml(caption.split()) is None
