"""Names and licences of models on the hub: packaged names, ids, folders of its cache, and folders of this machine."""

from __future__ import annotations

import pytest

from flipkd.models import packaged_models
from flipkd.models.hub_names import PACKAGED, hub_id, licence_of, public_name


def test_every_packaged_model_has_a_hub_name_and_a_licence():
    assert set(PACKAGED) == set(packaged_models())
    assert hub_id("gemma-3-270m") == "google/gemma-3-270m"
    assert public_name("all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"
    assert [licence_of(name) for name in ("gemma-3-270m", "all-MiniLM-L6-v2")] == ["gemma", "apache-2.0"]


def test_hub_id_of_a_folder_is_that_of_its_snapshot(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--org--llm" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    assert (hub_id(str(snapshot)), public_name(str(snapshot))) == ("org/llm", "org/llm")
    assert (hub_id(str(tmp_path)), public_name(f"{tmp_path}/")) == (None, tmp_path.name)
    assert hub_id("/no/such/folder") is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert [hub_id(name) for name in ("org/name", "org/other", "gpt2", "a/b/c", "")] == [
        *(None, "org/other", "gpt2", None, None)
    ]


@pytest.mark.parametrize(
    "card, licence", [("---\nlicense: mit\n---\n# M", "mit"), ("# M", None), ("---\n[1]\n---\n", None), (None, None)]
)
def test_licence_of_reads_the_model_card(tmp_path, card, licence):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(str(tmp_path)) == licence
    assert licence_of(str(tmp_path), model_type="gemma3_text") == (licence or "gemma")
    assert licence_of("some/hub-model") is None
