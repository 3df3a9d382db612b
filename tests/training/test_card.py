"""The model card says what was trained on what, with the hub's metadata."""

import yaml

from flipkd.student.contract import ScoreContract
from flipkd.training.card import model_card, replace_decisions

CONTRACT = ScoreContract(
    base_model_name_or_path="base",
    base_model_hash="hash",
    dtype="float32",
    template={"yes": " yes", "no": " no"},
    label_ids=(1, 2),
    reading="joint",
    max_text_length=16,
    readout_places=["model.layers.2.self_attn.q_proj"],
    threshold=0.25,
)


def test_model_card_has_metadata_and_every_figure_of_the_run(make_config):
    card = model_card(make_config(), CONTRACT, metrics={"n": 24.0, "f1": 0.8125})
    _, head, body = card.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["base_model_relation"] == "adapter"
    assert metadata["pipeline_tag"] == "text-ranking"
    assert "loss:margin_hinge" in metadata["tags"]
    for expected in ("0.8125", "0.2500", "24 validation pairs", "model.layers.2.self_attn.q_proj"):
        assert expected in body


def test_replace_decisions_changes_that_section_alone(make_config):
    card = model_card(make_config(), CONTRACT, metrics={"n": 24.0, "f1": 0.8125})
    band = CONTRACT.model_copy(update={"threshold": 1.5, "review_threshold": -0.75})
    again = replace_decisions(card, band, metrics={"n": 30.0, "precision": 0.9375})
    for expected in ("1.5000 is a match", "from -0.7500 on is for a person", "30 validation pairs", "0.9375"):
        assert expected in again
    assert "0.8125" not in again
    assert replace_decisions(again, CONTRACT, metrics={"n": 24.0, "f1": 0.8125}) == card


def test_replace_decisions_appends_a_missing_section():
    card = replace_decisions("# Mine", CONTRACT, metrics={"n": 24.0, "f1": 0.5})
    assert card.startswith("# Mine\n<!-- decisions -->")
    assert card.endswith("<!-- /decisions -->\n")
