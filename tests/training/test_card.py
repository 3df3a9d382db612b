"""The model card says what was trained on what, with the hub's metadata."""

import yaml

from flipkd.student.contract import ScoreContract
from flipkd.training.card import model_card


def test_card_has_metadata_and_every_figure_of_the_run(make_config):
    contract = ScoreContract(
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
    card = model_card(
        make_config(), contract, metrics={"n": 24.0, "f1": 0.8125}, training={"train_runtime": 12.3, "train_loss": 1.0}
    )
    _, head, body = card.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["base_model_relation"] == "adapter"
    assert metadata["pipeline_tag"] == "text-ranking"
    assert "loss:margin_hinge" in metadata["tags"]
    for expected in ("0.8125", "0.2500", "12 seconds", "24 validation pairs", "model.layers.2.self_attn.q_proj"):
        assert expected in body
