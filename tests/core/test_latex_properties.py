"""What holds of any tokens, made up by hypothesis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inktex.core.errors import InputError
from inktex.core.latex import normalize, to_latex, tokenize
from inktex.core.latex_tables import (
    ARGUMENTS,
    DELIMITER_SIZES,
    INFIX,
    INKLESS,
    INKLESS_ARGUMENTS,
    NEGATIONS,
    STRUCTURE,
    SYMBOLS,
    SYNONYMS,
)
from inktex.core.latex_tree import layout_tree

# Any tokens at all: most are malformed, the rest are odd.
odd_tokens = st.lists(
    st.sampled_from(
        tokenize(
            r"x'^_{}[]&.\sqrt\frac\sum\limits\prime\left\parallel\mathrm"
            r"\begin{matrix}\end{matrix}"
        )
    ),
    max_size=12,
)

# Formulas as people write them, in tokens; the parts are composed, so that all are well formed.
letters = st.sampled_from(["x", "y", "1", "+", r"\alpha", r"\sin", "(", "<", r"\{", r"\prime"])


def compose(parts: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    big = st.sampled_from([r"\sum", r"\int", r"\lim", "x", r"\Pi"])
    return st.one_of(
        st.tuples(parts, parts).map(lambda p: p[0] + p[1]),
        parts.map(lambda p: ["{", *p, "}"]),
        st.tuples(parts, parts).map(lambda p: [r"\frac", "{", *p[0], "}", "{", *p[1], "}"]),
        parts.map(lambda p: [r"\sqrt", "{", *p, "}"]),
        st.tuples(parts, parts).map(
            lambda p: [r"\sqrt", "[", "{", *p[0], "}", "]", "{", *p[1], "}"]
        ),
        st.tuples(parts, parts).map(lambda p: ["{", *p[0], "}", "^", "{", *p[1], "}"]),
        st.tuples(big, parts, parts).map(
            lambda p: [p[0], "^", "{", *p[1], "}", "_", "{", *p[2], "}"]
        ),
    )


formulas = st.recursive(letters.map(lambda letter: [letter]), compose, max_leaves=10)


# Anything that stands in a table, among braces: what is spelt, dropped and re-ordered meets itself.
table_tokens = st.lists(
    st.sampled_from(sorted({*ARGUMENTS, *SYNONYMS, *STRUCTURE, *NEGATIONS, *INFIX, *SYMBOLS}))
    | st.sampled_from(sorted(INKLESS | INKLESS_ARGUMENTS | DELIMITER_SIZES))
    | st.sampled_from(tokenize(r"{}{}{}{}[]^_&\\sin lim 2mm . <*|'\not\cal\rm\left\right\over"))
    | st.sampled_from([r"\begin{array}", r"\begin{pmatrix}", r"\end{array}", r"\end{pmatrix}"]),
    max_size=10,
)


@given(table_tokens)
def test_normalize_is_idempotent_on_all_that_the_tables_name(tokens: list[str]) -> None:
    try:
        once = normalize(tokens)
    except InputError:
        return
    assert normalize(once) == once
    assert tokenize(" ".join(once)) == once
    assert normalize(tokenize(to_latex(once))) == once


@given(table_tokens | odd_tokens)
def test_what_is_normal_is_balanced(tokens: list[str]) -> None:
    try:
        once = normalize(tokens)
    except InputError:
        return
    depth = 0
    for token in once:
        depth += (token == "{") - (token == "}")
        assert depth >= 0
    assert depth == 0
    assert sum(token.startswith(r"\begin") for token in once) == sum(
        token.startswith(r"\end") for token in once
    )
    assert not {"'", *SYNONYMS, *STRUCTURE, *INKLESS, *DELIMITER_SIZES} - {r"\limits"} & set(once)


@given(table_tokens)
def test_tokens_joined_are_the_same_tokens(tokens: list[str]) -> None:
    kept = [token for token in tokens if token != "\\ "]  # white space, which goes
    assert tokenize(" ".join(kept)) == kept


@given(odd_tokens)
def test_normalize_is_idempotent_on_whatever_it_accepts(tokens: list[str]) -> None:
    try:
        once = normalize(tokens)
    except InputError:
        return
    assert normalize(once) == once
    assert layout_tree(once) == layout_tree(tokens)
    assert normalize(tokenize(to_latex(once))) == once


@given(formulas)
def test_normalize_is_idempotent_on_formulas(tokens: list[str]) -> None:
    once = normalize(tokens)
    assert normalize(once) == once
    assert layout_tree(once) == layout_tree(tokens)
    assert tokenize(to_latex(once)) == [token for token in once if token != r"\limits"]
    assert normalize(tokenize(to_latex(once))) == once


@given(formulas, formulas)
def test_trees_are_equal_if_and_only_if_normalized_tokens_are(
    one: list[str], other: list[str]
) -> None:
    assert (layout_tree(one) == layout_tree(other)) == (normalize(one) == normalize(other))


@given(formulas, formulas)
def test_what_does_not_count_does_not_change_the_tree(base: list[str], script: list[str]) -> None:
    sub, sup = ["_", "{", *script, "}"], ["^", "{", "{", *base, "}", "}"]
    plain = layout_tree([r"\sum", *sub, *sup, "x"])
    assert layout_tree([r"\sum", r"\limits", *sup, *sub, "{", "x", "}"]) == plain
    assert layout_tree(["{", r"\sum", "}", *sup, *sub, r"\,", "x"]) == plain
    assert layout_tree([r"\sum", *sub, "x"]) != plain
