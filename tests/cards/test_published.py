"""A card on its way to the hub: names of the hub in the place of those of this machine, and what only the publisher knows."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from flipkd.cards.matcher_card import LearnedFrom, base_link, model_card, title
from flipkd.cards.published import CardFacts, published_card
from flipkd.errors import ArtefactError

NAMES = {"repository": "flip/bank", "base_model": "org/llm"}


def test_published_card_changes_names_and_adds_facts(make_config, contract, tmp_path, caplog):
    base = str(tmp_path / "llama")
    card = model_card(make_config(model_name_or_path=base), contract, metrics={"n": 1.0}, learned_from=LearnedFrom(48))
    facts = CardFacts(["en", "de"], "mit", ["org/pairs"])
    published = ModelCard(published_card(card, trained_on=base, facts=facts, **NAMES))
    assert {name: published.data.get(name) for name in ("language", "license", "datasets", "base_model")} == {
        **{"language": ["en", "de"], "license": "mit", "datasets": ["org/pairs"], "base_model": "org/llm"}
    }
    assert published.data.pipeline_tag == "text-ranking"
    assert "# Text matcher on org/llm\n" in published.text
    assert "[org/llm](https://huggingface.co/org/llm)" in published.text
    assert 'Matcher.from_pretrained("flip/bank")' in published.text
    assert "flipkd match --matcher flip/bank pairs.csv" in published.text
    assert "llama" not in published.content
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("trained_on", "base_model"),
    [
        ("gemma-3-270m", "google/gemma-3-270m"),
        ("org/llm", "org/llm-v2"),
        ("org/llm-v2", "org/llm"),
        ("/a/llm", "org/llm"),
    ],
)
def test_published_card_changes_each_name_once_also_where_one_is_a_part_of_the_other(trained_on, base_model):
    card = f"# {title(trained_on)}\n{base_link(trained_on)}, {trained_on} and {base_model}.\n"
    found = published_card(
        card, repository="flip/bank", trained_on=trained_on, base_model=base_model, facts=CardFacts()
    )
    assert found.endswith(f"# {title(base_model)}\n{base_link(base_model)}, {base_model} and {base_model}.\n")


def test_published_card_keeps_what_people_wrote_and_warns_of_a_missing_license(caplog):
    card = "---\nlanguage: fr\nmine: 1\n---\n# Mine\n"
    published = ModelCard(published_card(card, trained_on="org/llm", facts=CardFacts(), **NAMES))
    assert (published.data.language, published.data.get("mine"), published.text) == ("fr", 1, "# Mine\n")
    assert "names no license" in caplog.text


def test_published_card_of_a_matcher_without_a_card():
    card = ModelCard(published_card("", trained_on="/here", facts=CardFacts(["en"], "mit"), **NAMES))
    assert (card.data.base_model, card.data.language, card.data.license) == ("org/llm", ["en"], "mit")
    assert "# flip/bank" in card.text


def test_published_card_names_metadata_that_cannot_be_read():
    with pytest.raises(ArtefactError, match=r"README\.md: its metadata cannot be read"):
        published_card("---\n[1]\n---\n# Mine\n", trained_on="org/llm", facts=CardFacts(), **NAMES)
