from __future__ import annotations

import pytest

from inktex.core.latex_tables import (
    ARGUMENTS,
    DELIMITER_SIZES,
    DOUBLE_BARS,
    FUNCTIONS,
    INFIX,
    INKLESS,
    INKLESS_ARGUMENTS,
    LIMITS,
    NEGATIONS,
    STRUCTURE,
    SYMBOLS,
    SYNONYMS,
    is_known,
)

REWRITTEN = {*SYNONYMS, *STRUCTURE, *DOUBLE_BARS, *INKLESS, *INKLESS_ARGUMENTS, *DELIMITER_SIZES}


def test_no_token_stands_for_two_things() -> None:
    assert not REWRITTEN & SYMBOLS
    assert not SYMBOLS & ARGUMENTS.keys()
    assert not INFIX & (REWRITTEN | SYMBOLS)
    kinds = [set(SYNONYMS), set(STRUCTURE), DOUBLE_BARS, INKLESS, INKLESS_ARGUMENTS]
    assert sum(map(len, kinds)) == len(set().union(*kinds))


def test_a_spelling_is_never_spelt_again() -> None:
    for table in (SYNONYMS, NEGATIONS):
        assert not set(table.values()) & REWRITTEN
        assert all(map(is_known, table.values()))


def test_functions_and_limits_are_symbols() -> None:
    assert FUNCTIONS <= SYMBOLS
    assert LIMITS <= SYMBOLS


@pytest.mark.parametrize(
    "token",
    ["x", "7", "(", "|", "中", "{", "^", r"\alpha", r"\frac", r"\limits", r"\{", r"\%", "&"],
)
def test_tokens_of_the_convention_are_known(token: str) -> None:
    assert is_known(token)


@pytest.mark.parametrize(
    "token", ["%", "#", "$", "~", "\\", "\n", "", "xy", r"\foo", r"\color", r"\begin{tabular}"]
)
def test_other_tokens_are_not(token: str) -> None:
    assert not is_known(token)


def test_commands_of_another_spelling_are_not_of_the_convention() -> None:
    commands = [token for token in REWRITTEN if len(token) > 1 and token not in ARGUMENTS]
    assert not [token for token in commands if is_known(token) and token != r"\limits"]
