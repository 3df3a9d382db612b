"""Texts of the report: verdicts agree with the numbers, and invisible characters are shown."""

from __future__ import annotations

import pytest

from flipkd.report import words


def difference(value, p_value, *, low=-0.01, high=0.05, p_adjusted=None):
    p_values = {"p_value": p_value, "p_adjusted": p_adjusted or p_value}
    return {"difference": value, "low": low, "high": high, "resamples": 10_000} | p_values


BETTER, WORSE, ALIKE = difference(0.021, 0.012), difference(-0.021, 0.0002), difference(0.021, 0.05)


@pytest.mark.parametrize(
    ("f1", "average_precision", "verdict"),
    [
        (BETTER, BETTER, "better"),
        (WORSE, WORSE, "worse"),
        (ALIKE, ALIKE, "no significant difference"),
        (ALIKE, BETTER, "better in AP"),
        (WORSE, ALIKE, "worse in F1"),
        (WORSE, BETTER, "worse in F1, better in AP"),
        (difference(0.0, 1.0, low=0.0, high=0.0), ALIKE, "no significant difference"),
    ],
)
def test_verdict_follows_signs_and_p_values(f1, average_precision, verdict):
    assert words.verdict({"F1": f1, "AP": average_precision}) == verdict


def test_verdict_uses_the_corrected_p_value():
    assert words.verdict({"F1": difference(0.021, 0.012, p_adjusted=0.036)}) == "better"
    assert words.verdict({"F1": difference(0.021, 0.012, p_adjusted=0.06)}) == "no significant difference"


@pytest.mark.parametrize(
    "value, resamples, message",
    [
        (0.0002, 10_000, "p < 0.001"),
        (0.0123, 10_000, "p = 0.012"),
        (0.3456, 500, "p = 0.35"),
        (2 / 501, 500, "p ≤ 0.004"),
        (1.0, 500, "p = 1.00"),
    ],
)
def test_p_value_is_bounded_by_the_resamples(value, resamples, message):
    assert words.p_value({"p_value": value, "resamples": resamples}) == message


@pytest.mark.parametrize(
    "value, adjusted, message",
    [(2 / 501, 6 / 501, "p ≤ 0.012"), (0.02, 0.06, "p = 0.060"), (2 / 501, 1.0, "p = 1.00")],
)
def test_p_value_corrected_bound(value, adjusted, message):
    found = {"p_value": value, "p_adjusted": adjusted, "resamples": 500}
    assert words.p_value(found, kind="p_adjusted") == message


def test_figures():
    assert (words.points(-0.0123), words.points(0.0)) == ("−1.2", "+0.0")
    assert [words.duration(s) for s in (None, 3.21, 45, 600, 9000)] == ["–", "3.2 s", "45 s", "10 min", "2.5 h"]
    assert [words.memory(peak) for peak in (None, 3 * 2**30)] == ["–", "3.0 GiB"]
    assert [words.speed(pairs) for pairs in (None, 3.21, 1234.5)] == ["–", "3.2", "1,234"]
    assert (words.figure(None), words.figure(0.12345)) == ("–", "0.123")


@pytest.mark.parametrize(
    "text, shown",
    [
        ("\x00\x1b[31mred", "\\u0000\\u001b[31mred"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\u200fx\u2067y\ufeff", "\\u200fx\\u2067y\\ufeff"),
        ("half \ud800 pair", "half \\ud800 pair"),
        ("two\r\nlines\tand a tab", "two  lines and a tab"),
        ("\u2028", "\\u2028"),
        ("👩‍👧 naïve 日本 \u0645\u0631\u062d\u0628\u0627", "👩‍👧 naïve 日本 \u0645\u0631\u062d\u0628\u0627"),
        (7, "7"),
    ],
)
def test_escape_invisible_shows_hidden_characters(text, shown):
    assert words.escape_invisible(text) == shown


def test_shortened_cuts_long_texts():
    assert words.shortened("a" * 200) == "a" * 200
    assert words.shortened("a" * 201) == "a" * 199 + "…"
