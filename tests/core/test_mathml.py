from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inktex.core.errors import InputError
from inktex.core.ink import Ink, MathNode
from inktex.core.ink_json import ink_of_record
from inktex.core.mathml import latex_tokens, read_mathml

XML = 'xmlns="http://www.w3.org/1998/Math/MathML"'


def caption(mathml: str) -> str:
    tree = read_mathml(fromstring(f"<math {XML}>{mathml}</math>"))
    return " ".join(token for token, _ in latex_tokens(tree))


def ids(mathml: str) -> dict[str, str | None]:
    tree = read_mathml(fromstring(f"<math {XML}>{mathml}</math>"))
    return dict(latex_tokens(tree))


@pytest.mark.parametrize(
    ("mathml", "expected"),
    [
        ("<msup><mi>x</mi><mn>2</mn></msup>", "x ^ { 2 }"),
        ("<msub><mi>x</mi><mi>i</mi></msub>", "x _ { i }"),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x _ { i } ^ { 2 }"),
        ("<mfrac><mn>1</mn><mrow><mn>2</mn><mi>a</mi></mrow></mfrac>", r"\frac { 1 } { 2 a }"),
        ("<mi>x</mi><mo>$</mo><mo>_</mo><mo>%</mo><mi>y</mi>", r"x \$ \_ \% y"),
        ("<mi>x</mi><mo>\\</mo><mo>#</mo><mo>&amp;</mo>", r"x \backslash \# \&"),
        ("<msqrt><mn>2</mn><mn>1</mn></msqrt>", r"\sqrt { 2 1 }"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt [ 3 ] { x }"),
        ("<munder><mo>lim</mo><mi>n</mi></munder>", r"\lim \limits _ { n }"),
        (
            "<munderover><mo>∑</mo><mi>n</mi><mi>N</mi></munderover>",
            r"\sum \limits _ { n } ^ { N }",
        ),
        ("<msubsup><mo>\\int</mo><mi>a</mi><mi>b</mi></msubsup>", r"\int \limits _ { a } ^ { b }"),
        ("<mover><mo>\\sum</mo><mi>n</mi></mover>", r"\sum \limits ^ { n }"),
        ("<mrow><mo>\\int</mo><mi>f</mi></mrow>", r"\int f"),
        ("<msub><mi>\\log</mi><mi>c</mi></msub>", r"\log _ { c }"),
        ("<msup><mi>f</mi><mo>'</mo></msup>", r"f ^ { \prime }"),
        ("<msup><mi>f</mi><mo>prime</mo></msup>", r"f ^ { \prime }"),
        ("<mo>{</mo><mo>&lt;</mo><mo>\\gt</mo><mo>}</mo>", r"\{ < > \}"),
        ("<mo>≤</mo><mo>le</mo><mo>rarr</mo><mi>infin</mi>", r"\leq \leq \rightarrow \infty"),
        ("<mo>.</mo><mo>.</mo><mo>.</mo>", r"\cdots"),
        ("<mn>0</mn><mo>.</mo><mo>.</mo>", "0 . ."),
        ("<mn>12</mn>", "1 2"),
        ("<mi>ln</mi><mo>\u2061</mo><mi>x</mi><mo>\u2062</mo><mi>y</mi>", r"\ln x y"),
        ("<munder><mo>max</mo><mi>n</mi></munder>", r"\max _ { n }"),
        ("<mi>lim\u2009inf</mi><mi>lnx</mi><mn>gcd</mn>", r"\liminf l n x g c d"),
        ("<mover><mo>=</mo><mo>!</mo></mover>", "= ^ { ! }"),
        ("<msup><mi>f</mi><mo>-</mo></msup>", "f ^ { - }"),
        ("", ""),
    ],
)
def test_each_construct_in_the_evaluation_convention(mathml: str, expected: str) -> None:
    assert caption(mathml) == expected


def test_the_base_of_a_script_has_no_braces() -> None:
    base = "<mrow><mo>(</mo><mrow><mi>a</mi><mo>)</mo></mrow></mrow>"
    assert caption(f"<msup>{base}<mn>2</mn></msup>") == "( a ) ^ { 2 }"


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("msub", "msup", "x _ { a } ^ { b }"),
        ("msup", "msub", "x _ { b } ^ { a }"),
        ("msub", "msub", "x _ { a _ { b } }"),
        ("msup", "msup", "x ^ { a ^ { b } }"),
    ],
)
def test_scripts_hung_on_scripts(inner: str, outer: str, expected: str) -> None:
    base = f"<mrow><{inner}><mi>x</mi><mi>a</mi></{inner}></mrow>"
    assert caption(f"<{outer}>{base}<mi>b</mi></{outer}>") == expected


def test_a_third_subscript_goes_one_deeper() -> None:
    tree = "<mi>x</mi>"
    for script in "abc":
        tree = f"<msub>{tree}<mi>{script}</mi></msub>"
    assert caption(tree) == "x _ { a _ { b _ { c } } }"


@pytest.mark.parametrize(
    "mathml", ["<msub><mi>x</mi><mrow/></msub>", "<msub><mi>x</mi></msub>", "<mi>x</mi><mi/>"]
)
def test_an_empty_script_leaves_no_trace(mathml: str) -> None:
    assert caption(mathml) == "x"


def test_every_written_token_has_the_id_of_its_ink() -> None:
    found = ids(
        '<mfrac xml:id="bar"><msqrt xml:id="root"><mi xml:id="a">a</mi></msqrt>'
        '<msup><mo xml:id="sum">\\sum</mo><mi xml:id="n">n</mi></msup></mfrac>'
    )
    assert found == {
        **{r"\frac": "bar", r"\sqrt": "root", "a": "a", r"\sum": "sum", "n": "n"},
        **{"{": None, "}": None, "^": None, r"\limits": None},
    }


def test_a_token_annotated_in_parts_has_all_their_ids() -> None:
    dots = "".join(f'<mo xml:id="{number}:">.</mo>' for number in (4, 5, 6))
    assert ids(dots) == {r"\cdots": "4: 5: 6:"}


def test_the_label_in_an_id_repairs_damaged_text() -> None:
    assert (
        caption('<mi xml:id="\\infty_1">8</mi><mo xml:id="\\vec_1">?</mo>') == r"\infty \rightarrow"
    )
    assert caption('<mi xml:id="8_1">8</mi><mo xml:id="._1">.</mo>') == "8 ."


def test_the_converter_that_writes_the_index_of_a_root_first() -> None:
    assert caption('<mroot xml:id="\\sqrt_1"><mn>3</mn><mi>x</mi></mroot>') == r"\sqrt [ 3 ] { x }"


@pytest.mark.parametrize(
    ("mathml", "told"),
    [
        ("<mtable><mtr><mtd><mi>x</mi></mtd></mtr></mtable>", "<mtable>"),
        ("<mfrac><mn>1</mn></mfrac>", "2 children, found 1"),
        ("<msup/>", "2 children, found 0"),
        ("<msubsup><mi>x</mi><mi>i</mi></msubsup>", "3 children, found 2"),
        ("<mi>x</mi><mo>~</mo>", "found '~'"),
        ("<mover><mi>x</mi><mo>^</mo></mover>", r"found '\^'"),
        ("<mover accent='true'><mi>x</mi><mi>y</mi></mover>", "found <mover accent>"),
        ("<munder accentunder='true'><mi>x</mi><mi>y</mi></munder>", "found <munder accent>"),
        ("<mover><mi>x</mi><mrow><mo>→</mo></mrow></mover>", "found '→' in <mover>"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "found '¯' in <mover>"),
        ("<mover><mi>x</mi><mo>\u20d7</mo></mover>", "may be an accent; annotate LaTeX"),
        ("<munder><munder><mi>x</mi><mo>⏟</mo></munder><mi>n</mi></munder>", "found '⏟' in <mund"),
        ("<munderover><mi>x</mi><mo>_</mo><mo>-</mo></munderover>", "found '_' in <munderover>"),
        ("<msqrt>" * 65 + "<mi>x</mi>" + "</msqrt>" * 65, "64 deep"),
    ],
)
def test_what_the_convention_cannot_say_is_refused(mathml: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        caption(mathml)


def test_rows_may_be_nested_as_deep_as_the_expression_is_long() -> None:
    length = 5000
    rows = "<mrow><mi>x</mi>" * length + "</mrow>" * length
    assert caption(rows) == " ".join("x" * length)


def leaf(name: str) -> MathNode:
    return MathNode("mi", name, name)


TREES = st.recursive(
    st.sampled_from("abcdefgh").map(leaf),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(
            lambda children: MathNode("mrow", children=tuple(children))
        ),
        st.tuples(
            st.sampled_from(["msub", "msup", "munder", "mover", "mfrac", "mroot"]), inner, inner
        ).map(lambda parts: MathNode(parts[0], "bar", children=parts[1:])),
        st.tuples(st.sampled_from(["msubsup", "munderover"]), inner, inner, inner).map(
            lambda parts: MathNode(parts[0], "bar", children=parts[1:])
        ),
    ),
    max_leaves=12,
)


def leaves(tree: MathNode) -> Counter[str | None]:
    if tree.text:
        return Counter([tree.node])
    return sum((leaves(child) for child in tree.children), Counter())


@given(TREES)
def test_every_leaf_is_written_once_and_nothing_is_scripted_twice(tree: MathNode) -> None:
    tokens = latex_tokens(tree)
    assert Counter(node for token, node in tokens if token.isalpha()) == leaves(tree)
    # Per brace level: which scripts the last symbol carries already.
    carried: list[set[str]] = [set()]
    previous = ""
    for token, _ in tokens:
        if token in "_^":
            assert token not in carried[-1]
            assert not (token == "_" and "^" in carried[-1])
            carried[-1].add(token)
        elif token == "{":
            if previous not in ("_", "^"):
                carried[-1] = set()
            carried.append(set())
        elif token == "}":
            carried.pop()
        else:
            carried[-1] = set()
        previous = token
    assert len(carried) == 1


def annotated(data_root: Path, split: str) -> Iterator[tuple[Ink, str]]:
    with (data_root / "crohme" / "images" / f"{split}.tsv").open(encoding="utf-8") as file:
        captions = dict(line.rstrip("\n").split("\t") for line in file)
    with lzma.open(data_root / "crohme" / "strokes" / f"{split}.jsonl.xz", "rt") as lines:
        for line in lines:
            record = json.loads(line)
            record["strokes"] = [[[0, 0]]] * len(record["strokes"])  # for speed: not looked at here
            yield ink_of_record(record), captions[record["id"]]


# What the annotators call the ink of a token that is not its own name.
LABELS = {
    **{r"\frac": {"-"}, "<": {"<", r"\lt"}, ">": {">", r"\gt"}, r"\cdot": {"."}},
    r"\cdots": {r"\ldots", ". . ."},
}


# The floors are what is reached; the other trees or captions do not say what was written. The
# ceilings are symbols that the annotators labelled wrongly, or left without strokes.
@pytest.mark.parametrize(
    ("split", "floor", "ceiling"), [("train", 8732, 6), ("2014", 966, 6), ("2016", 1147, 5)]
)
def test_the_trees_of_crohme_give_its_captions(
    data_root: Path, split: str, floor: int, ceiling: int
) -> None:
    agreeing = 0
    mislabelled: Counter[tuple[str, str]] = Counter()
    for ink, text in annotated(data_root, split):
        if ink.tree is None:
            continue
        tokens = latex_tokens(ink.tree)
        agreeing += " ".join(token for token, _ in tokens) == text
        labels = {symbol.node: symbol.label for symbol in ink.symbols}
        for token, node in tokens:
            if node is not None:
                label = " ".join(labels.get(each, "missing") for each in node.split())
                if label not in LABELS.get(token, {token}):
                    mislabelled[token, label] += 1
    assert agreeing >= floor
    assert sum(mislabelled.values()) <= ceiling, mislabelled
