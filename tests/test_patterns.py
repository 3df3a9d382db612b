"""No text makes a pattern, or what folds and shows texts, take more than time in proportion to its length."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from pathlib import Path

import pytest

import flipkd
from flipkd.cli.terminal import printable
from flipkd.data.folding import spelling_key, word_key
from flipkd.errors import shorten
from flipkd.report.words import escape_invisible
from flipkd.student.prompt import CHARACTERS_PER_TOKEN
from flipkd.text import first_visible, truncate_text

ROOT = Path(flipkd.__file__).parent
METHODS = {"match", "fullmatch", "search", "sub", "split", "findall", "finditer"}
SIZES = (25, 1_000, 10_000)  # an exponential pattern is found at the first, before the others would not end
SECONDS = 0.25  # of one core, for 10,000 characters: in proportion they take 1 ms, squared 0.5 s or more
REPEATED = [
    "0",
    "a",
    " ",
    "-",
    ".",
    "\r",
    "\n",
    '"',
    '\\"',
    "\\",
    "0.",
    "1,",
    "a.",
    "- ",
    "-+",
    ";\t",
    "_-",
    "a/",
    "<",
    "e1",
]
ENDINGS = ["", "!", " "]


def used():
    """(Where, pattern, method) for every pattern of the sources and each way in which it is used; match if by a library."""
    for file in sorted(ROOT.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        if "re." not in source or "demo" in file.parts:
            continue
        tree = ast.parse(source)
        name = ".".join(file.relative_to(ROOT.parent).with_suffix("").parts)
        compiled = {n: p for n, p in vars(importlib.import_module(name)).items() if isinstance(p, re.Pattern)}
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
        for call in calls:
            of, method = ast.unparse(call.func.value), call.func.attr
            if of == "re" and method in METHODS and isinstance(call.args[0], ast.Constant):
                yield f"{name}:{call.lineno}", re.compile(call.args[0].value), method
        for own, pattern in compiled.items():
            methods = {c.func.attr for c in calls if ast.unparse(c.func.value) == own} & METHODS
            for method in methods or {"match"}:
                yield f"{name}:{own}", pattern, method


def seconds(work):
    began = time.process_time()
    work()
    return time.process_time() - began


USES = sorted(used(), key=lambda use: (use[0], use[2]))


@pytest.mark.scenario("X15")
@pytest.mark.parametrize("where, pattern, method", USES, ids=[f"{where}-{method}" for where, _, method in USES])
def test_a_pattern_takes_no_more_time_than_its_text_is_long(where, pattern, method):
    def use(text):
        if method == "sub":
            pattern.sub(type(text)(), text)
        elif method == "finditer":
            list(pattern.finditer(text))
        else:
            getattr(pattern, method)(text)

    for size, repeated, start, ending in itertools.product(SIZES, REPEATED, ("", "a"), ENDINGS):
        text = start + repeated * (size // len(repeated)) + ending
        given = text.encode() if isinstance(pattern.pattern, bytes) else text
        assert seconds(lambda given=given: use(given)) < SECONDS, (start, repeated, ending, size)


def test_the_patterns_are_found():
    found = {where for where, _, _ in USES}
    assert len(found) >= 20
    assert {
        "flipkd.serve.strict_json:_TEXT",
        "flipkd.yaml_values:_EXPONENT",
        "flipkd.data.folding:_LOOSE_HYPHEN",
    } <= found


TEXTS = {
    "marks in no order": "a" + "\u0315\u0300" * 50_000,
    "one mark": "\u0301" * 100_000,
    "signs that fold to many": "\ufdfa" * 10_000,
    "parts of Hangul": "\u1100\u1161\u11a8" * 33_000,
    "hyphens": "-" * 100_000,
    "full stops and blanks": ". " * 50_000,
    "numbers": "1 " * 50_000,
    "raised digits": "1⁵" * 50_000,
    "joiners": "\u200d\u034f" * 50_000,
    "signs of no font": "\U0010fffd" * 100_000,
    "escapes": "\x1b" * 100_000,
}
FUNCTIONS = {
    "word_key": word_key,
    "spelling_key": spelling_key,
    "escape_invisible": escape_invisible,
    "printable": printable,
    "shorten": shorten,
    "first_visible": first_visible,
    "truncate_text": lambda text: truncate_text(text, 16 * CHARACTERS_PER_TOKEN),
}


@pytest.mark.scenario("X15")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_text_patterns_cost_little_more_for_odd_characters_than_for_letters(function):
    """A quarter of a second for 100,000 characters; Python's NFKC alone takes 10 for marks that it must sort."""
    for name, text in TEXTS.items():
        assert seconds(lambda text=text: FUNCTIONS[function](text)) < 1.0, name


def test_spelling_key_and_word_key_fold_marks():
    assert spelling_key("é" * 40) == spelling_key("e\u0301" * 40)
    assert word_key("é" * 40) == word_key("e\u0301" * 40)
    orders = ("a" + "\u0315\u0300" * 15, "a" + "\u0300\u0315" * 15)
    assert spelling_key(orders[0]) == spelling_key(orders[1]) != spelling_key("a")
    assert "\u034f" not in word_key("a" + "\u0300" * 100)
