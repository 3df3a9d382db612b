"""The tree of errors: what the command line exits with, what a caller can catch, what a message may show."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd import errors
from flipkd.errors import FlipkdError, nearest, shorten

TABLE = {  # reliability: 1 is our own bug, 0 is done
    "FlipkdError": (1, Exception),
    "UsageError": (2, ValueError),
    "DataError": (3, ValueError),
    "ConfigError": (4, ValueError),
    "ArtefactError": (4, ValueError),
    "ResourceError": (5, OSError),
    "NumbersError": (6, ArithmeticError),
    "RefusedError": (7, PermissionError),
    "PeerError": (5, Exception),
    "StoppedError": (75, Exception),
}
TEXT = "row 3 of pairs.csv: label is 'maybe'; allowed: 0, 1"


def test_the_table_holds_every_error():
    found = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert found == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_exit_code_and_what_it_can_be_caught_as(name):
    error = getattr(errors, name)
    code, caught_as = TABLE[name]
    assert error.exit_code == code
    assert issubclass(error, FlipkdError)
    assert issubclass(error, caught_as)
    assert name == "FlipkdError" or error("x").exit_code == code != 1


@pytest.mark.parametrize("name", TABLE)
def test_the_message_is_what_was_given_and_survives_pickling(name):
    error = getattr(errors, name)(TEXT)
    assert str(error) == TEXT
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.exit_code) == (TEXT, error.exit_code)


@pytest.mark.parametrize("name", TABLE)
def test_the_tree_in_the_docstring_is_the_tree(name):
    code, caught_as = TABLE[name]
    line = next(line for line in errors.__doc__.splitlines() if name in line)
    if name == "FlipkdError":
        return
    assert str(code) in line.split()
    assert caught_as is Exception or f"(also {caught_as.__name__})" in line


@given(value=st.text() | st.binary() | st.lists(st.text()) | st.dictionaries(st.text(), st.floats()))
@settings(deadline=None, max_examples=50)
def test_what_is_shown_is_short_and_printable(value):
    shown = shorten(value)
    assert len(shown) <= 80
    assert shown.isprintable()


@pytest.mark.parametrize(
    "value, shown",
    [
        ("a\x1b[2Jb\n", r"'a\x1b[2Jb\n'"),
        ("\u202eabc", r"'\u202eabc'"),
        ("Zürich", r"'Z\xfcrich'"),
        (["a\x1b", 1.5], r"['a\x1b', 1.5]"),
        (None, "None"),
        (0.1, "0.1"),
    ],
)
def test_control_characters_are_escaped(value, shown):
    assert shorten(value) == shown


def test_a_long_value_is_cut_at_the_limit():
    assert shorten("x" * 78) == "'" + "x" * 78 + "'"
    assert shorten("x" * 79) == "'" + "x" * 76 + "..."
    assert shorten("x" * 1000, limit=10) == "'xxxxxx..."


def test_the_nearest_name_comes_before_all_that_are_allowed():
    assert nearest("lerning_rate", ["seed", "learning_rate"]) == (
        "did you mean 'learning_rate'? allowed: seed, learning_rate"
    )
    assert nearest("zzz", ["seed", "learning_rate"]) == "allowed: seed, learning_rate"
    assert nearest("zzz", []) == "allowed: "
