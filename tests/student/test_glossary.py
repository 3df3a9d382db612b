"""Glossary: whole terms only, in their order, within the budget; a matcher keeps it, and its answers change with it."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SENTENCES, randomise

from flipkd.errors import ConfigError
from flipkd.matcher import Matcher
from flipkd.student.contract import GlossaryTerms
from flipkd.student.glossary import Glossary

DEFINITIONS = {"PIN": ["secret number", "4 digits"], "card": ["plastic"], "credit card": ["card with credit"]}
TERMS = Glossary(DEFINITIONS)


@pytest.mark.parametrize(
    ("text", "enriched"),
    [
        ("my pin", "my pin (pin: secret number; pin: 4 digits)"),
        ("credit card", "credit card (credit card: card with credit)"),
        ("spinning cards", "spinning cards"),
        ("Card and PIN", "Card and PIN (card: plastic; pin: secret number; pin: 4 digits)"),
        ("  odd   text ", "  odd   text "),
    ],
)
def test_definitions_are_added_to_whole_terms(text, enriched):
    assert TERMS.enrich(text) == enriched


@pytest.mark.parametrize("budget", range(1, 60, 3))
def test_enrich_keeps_the_maximum_length_and_texts_without_terms(budget):
    added = Glossary(DEFINITIONS, max_characters=budget).enrich("card PIN")[len("card PIN") :]
    assert len(added) <= budget
    assert Glossary({}, max_characters=budget).enrich("card PIN") == "card PIN"


PIECES = ["c", "c++", "+", "++", "a-b", ".net", "a", "ab", "pin", "_", " ", "é", "1"]
LONGER = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


@settings(deadline=None, max_examples=200)
@given(st.lists(LONGER.map(str.strip).filter(bool), min_size=1, max_size=6), LONGER)
def test_terms_are_those_of_a_pattern_of_all_terms(terms, text):
    known = {" ".join(term.split()): ["d"] for term in terms}
    longest_first = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    text = " ".join(text.split())
    expected = dict.fromkeys(re.findall(rf"(?<!\w)(?:{longest_first})(?!\w)", text))
    added = Glossary(known, max_characters=10_000).enrich(text)
    assert added == (f"{text} ({'; '.join(f'{term}: d' for term in expected)})" if expected else text)


@pytest.mark.scenario("X15")
@pytest.mark.parametrize("shape", ["x ", "card x1 ", "card ", "- ", "x1"])
def test_a_large_glossary_takes_little_time_for_each_byte(shape):
    """A pattern of all terms took 0.7 s for 20 KB of short words; 2 MB of a request would have taken over a minute."""
    large = Glossary({f"{word} x{k}": ["a definition"] for k in range(5000) for word in ("card", f"w{k}")})
    began = time.process_time()
    large.enrich(shape * (100_000 // len(shape)))
    assert time.process_time() - began < 0.5


def test_a_matcher_keeps_its_glossary_and_reads_it_after_the_text(make_student, tmp_path):
    from flipkd.command_config import ExportConfig
    from flipkd.commands.export import export
    from flipkd.files import new_folder

    terms = GlossaryTerms(definitions={"card": ["a piece of plastic"]}, max_characters=50)
    plain, _ = make_student("llama", max_text_length=64)
    student, contract = make_student("llama", max_text_length=64, glossary=terms)
    written = "my card (card: a piece of plastic)"
    assert student.prompt.text_ids(["my card"]) == plain.prompt.text_ids([written])
    assert student.prompt.text_ids(SENTENCES[2:3]) == plain.prompt.text_ids(SENTENCES[2:3])
    with new_folder(tmp_path / "matcher") as folder:
        randomise(student).save(folder, contract)
    matcher = Matcher.from_pretrained(tmp_path / "matcher")
    assert matcher.contract.glossary == terms
    with_terms, without = matcher.predict([("my card", "x"), (SENTENCES[2], "x")])
    randomise(plain)
    from flipkd.student.scoring import score_pairs

    expected = score_pairs(plain, [written, SENTENCES[2], "my card"], ["x"] * 3).answer
    assert np.allclose([with_terms, without], expected[:2], atol=1e-4)
    assert abs(expected[2] - with_terms) > 1e-3, "the definition has an effect"
    settings = {"matcher": str(tmp_path / "matcher"), "to": "merged", "output_dir": str(tmp_path / "out")}
    with pytest.raises(ConfigError, match="adds definitions of a glossary"):
        export(ExportConfig.check(settings))
