"""Exceptions: exit codes, base classes to catch them by, and values in messages."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipkd import errors
from flipkd.errors import FlipkdError, nearest, shorten

TABLE = {  # name -> (exit code, standard class); 1 is a bug in flipkd
    "FlipkdError": (1, Exception),
    "UsageError": (2, ValueError),
    "DataError": (3, ValueError),
    "ConfigError": (4, ValueError),
    "ArtefactError": (4, ValueError),
    "ResourceError": (5, OSError),
    "NumbersError": (6, ArithmeticError),
    "RefusedError": (7, PermissionError),
    "MismatchError": (7, ValueError),
    "DriftError": (7, ValueError),
    "PeerError": (5, Exception),
    "StoppedError": (75, Exception),
}
TEXT = "row 3 of pairs.csv: label is 'maybe'; allowed: 0, 1"


def test_the_table_has_every_exception_of_errors():
    found = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert found == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_errors_have_their_exit_code_and_standard_class(name):
    error = getattr(errors, name)
    code, caught_as = TABLE[name]
    assert error.exit_code == code
    assert issubclass(error, FlipkdError)
    assert issubclass(error, caught_as)
    assert name == "FlipkdError" or error("x").exit_code == code != 1


@pytest.mark.parametrize("name", TABLE)
def test_errors_keep_message_and_exit_code_when_pickled(name):
    error = getattr(errors, name)(TEXT)
    assert str(error) == TEXT
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.exit_code) == (TEXT, error.exit_code)


@pytest.mark.parametrize("name", TABLE)
def test_the_docstring_of_errors_shows_each_exception(name):
    code, caught_as = TABLE[name]
    line = next(line for line in errors.__doc__.splitlines() if name in line)
    if name == "FlipkdError":
        return
    assert str(code) in line.split()
    assert caught_as is Exception or f"(also {caught_as.__name__})" in line


@given(value=st.text() | st.binary() | st.lists(st.text()) | st.dictionaries(st.text(), st.floats()))
@settings(deadline=None, max_examples=50)
def test_shorten_returns_a_short_printable_text(value):
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
def test_shorten_escapes_control_characters(value, shown):
    assert shorten(value) == shown


def test_shorten_cuts_a_long_value_at_the_limit():
    assert shorten("x" * 78) == "'" + "x" * 78 + "'"
    assert shorten("x" * 79) == "'" + "x" * 76 + "..."
    assert shorten("x" * 1000, limit=10) == "'xxxxxx..."


def test_nearest_names_the_nearest_spelling_before_all_allowed_names():
    assert nearest("lerning_rate", ["seed", "learning_rate"]) == (
        "did you mean 'learning_rate'? allowed: seed, learning_rate"
    )
    assert nearest("zzz", ["seed", "learning_rate"]) == "allowed: seed, learning_rate"
    assert nearest("zzz", []) == "allowed: "
    assert nearest("zzz", ["a", "b"], what="its columns") == "its columns: a, b"


def test_nearest_lists_only_the_near_ones_of_many_names_or_the_first_if_none_is_near():
    names = [f"setting_{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    found = nearest("setting_q1", names)
    assert found.startswith("did you mean 'setting_q'? nearest of the 26 allowed: setting_q, ")
    assert found.count(",") == 5
    assert nearest("1234567", names) == f"allowed: {', '.join(names[:20])} and 6 more"
