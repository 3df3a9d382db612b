"""Sections of a card that change after training: the rest of the card stays as it is."""

from __future__ import annotations

import pytest
from hub_server import card_errors
from huggingface_hub import ModelCard

from flipkd.cards.matcher_card import LearnedFrom, model_card
from flipkd.cards.sections import add_test, read_card, replace_decisions
from flipkd.errors import ArtefactError, RefusedError

METRICS = {"n": 24.0, "f1": 0.8125}


@pytest.fixture
def card(make_config, contract) -> str:
    return model_card(make_config(), contract, metrics=METRICS, learned_from=LearnedFrom(48))


def test_replace_decisions_changes_that_section_alone(card, contract):
    band = contract.model_copy(update={"threshold": 1.5, "review_threshold": -0.75})
    again = replace_decisions(card, band, metrics={"n": 30.0, "precision": 0.9375})
    for expected in ("1.5000 is a match", "from -0.7500 on is for a person", "30 validation pairs", "0.9375"):
        assert expected in again
    assert "0.8125" not in again
    assert replace_decisions(again, contract, metrics=METRICS) == card


def test_read_card_names_a_card_that_is_not_utf8(tmp_path):
    assert read_card(tmp_path) == ""
    (tmp_path / "README.md").write_bytes("# Für uns".encode("latin-1"))
    with pytest.raises(ArtefactError, match=r"README\.md: cannot be read .*; save it as UTF-8"):
        read_card(tmp_path)
    (tmp_path / "README.md").write_text("# Für uns")
    assert read_card(tmp_path) == "# Für uns"


def test_read_card_follows_no_link_out_of_the_folder(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "private").write_text("a key")
    (snapshot / "README.md").symlink_to(tmp_path / "private")
    with pytest.raises(RefusedError, match=r"README\.md: is a link to .*private, outside the folder"):
        read_card(snapshot)
    (snapshot / "README.md").unlink()
    (snapshot.parent.parent / "blobs").mkdir()
    (snapshot.parent.parent / "blobs" / "4567").write_text("# A card")
    (snapshot / "README.md").symlink_to("../../blobs/4567")
    assert read_card(snapshot) == "# A card"


def test_replace_decisions_appends_a_missing_section(contract):
    card = replace_decisions("# Mine", contract, metrics={"n": 24.0, "f1": 0.5})
    assert card.startswith("# Mine\n<!-- decisions -->")
    assert card.endswith("<!-- /decisions -->\n")


def test_add_test_writes_a_section_and_the_model_index(card):
    one = add_test(card, model="run", data="bank", metrics={"n": 10, "f1": 0.5, "threshold": 0.25})
    two = add_test(one, model="run", data="faq", metrics={"n": 20, "f1": 0.25, "ece": 0.125, "seconds": 3.0})
    again = add_test(two, model="run", data="bank", metrics={"n": 10, "f1": 0.75})
    data = ModelCard(again).data
    assert data.model_name == "run"
    found = {(one.dataset_name, one.metric_type): one.metric_value for one in data.eval_results}
    assert found == {
        ("bank", "f1"): 0.75,
        ("faq", "f1"): 0.25,
        ("faq", "ece"): 0.125,
    }
    assert again.index("<!-- /decisions -->") < again.index("<!-- test -->") < again.index("## How it scores")
    assert {one.task_type for one in data.eval_results} == {"text-ranking"}
    assert card_errors(again) == []
    assert again.count("<!-- test -->") == 1
    assert "bank, 10 pairs:" in again
    assert "| f1 | 0.7500 |" in again
    assert "| f1 | 0.5000 |" not in again


def test_new_decisions_drop_the_test_figures_of_the_old_ones(card, contract):
    tested = add_test(card, model="run", data="bank", metrics={"n": 10, "f1": 0.5})
    assert replace_decisions(tested, contract, metrics=METRICS).rstrip() == card.rstrip()


def test_add_test_names_a_card_that_cannot_be_read():
    with pytest.raises(ArtefactError, match=r"README\.md: its metadata cannot be read; correct or delete it"):
        add_test("---\n[1]\n---\n# Mine\n", model="run", data="bank", metrics={"n": 1, "f1": 0.5})
    assert "model-index" in add_test("# Mine\n", model="run", data="bank", metrics={"n": 1, "f1": 0.5})
