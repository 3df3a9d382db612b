"""Texts of the report: verdicts agree with the numbers, and invisible characters are shown."""

from __future__ import annotations

import pytest

from flipkd.report import words


def difference(value, p_value, *, low=-0.01, high=0.05, p_adjusted=None):
    p_values = {"p_value": p_value, "p_adjusted": p_adjusted or p_value}
    return {"difference": value, "low": low, "high": high, "resamples": 10_000} | p_values


def say(**fields):
    return words.verdict(difference(**fields), of="the flipped student", reference="plain LoRA")


def test_verdict_follows_sign_and_p_value():
    assert say(value=0.021, p_value=0.012, low=0.004, high=0.037) == (
        "The flipped student is better than plain LoRA by +2.1 points of F1 (95 % interval +0.4 to +3.7; p = 0.012). "
        "The difference is significant."
    )
    assert "is worse than plain LoRA by 2.1 points of F1 (95 %" in say(value=-0.021, p_value=0.0002)
    assert say(value=0.021, p_value=0.05).startswith(
        "The difference between the flipped student and plain LoRA is not significant on these test pairs: +2.1 points"
    )


def test_verdict_uses_the_corrected_p_value():
    assert say(value=0.021, p_value=0.012, p_adjusted=0.036, low=0.004, high=0.037).startswith(
        "The flipped student is better than plain LoRA by +2.1 points of F1 (95 % interval +0.4 to +3.7; p = 0.012, after Holm's "
        "correction p = 0.036)."
    )
    assert "is not significant" in say(value=0.021, p_value=0.012, p_adjusted=0.06)
    assert words.ranking(difference(0.027, 0.012, p_adjusted=0.06)).endswith("correction p = 0.060).")


def test_ranking_sentence():
    assert words.ranking(difference(0.027, 0.012, low=0.013, high=0.042)) == (
        "In the order of all pairs, which needs no threshold, the difference in AP is +2.7 points "
        "(95 % interval +1.3 to +4.2; p = 0.012), a significant difference."
    )
    assert words.ranking(difference(0.001, 0.6)).endswith("p = 0.60).")


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


def test_verdict_of_no_difference():
    assert "is not significant" in say(value=0.0, p_value=1.0, low=0.0, high=0.0)


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
