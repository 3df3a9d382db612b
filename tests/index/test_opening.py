"""open_index: the engine in the header, whatever else the folder is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lance_writer import ROWS, make

from flipkd.errors import ArtefactError, ConfigError
from flipkd.files import write_manifest
from flipkd.index import Index, open_index
from flipkd.index.lance import LanceIndex


def memory_index(folder):
    Index([{"text": "a"}], np.eye(1, dtype=np.float32), encoder={"kind": "none"}).save(folder)
    return folder


def changed_header(folder, content):
    """Write another header, with a manifest that has it."""
    (folder / "index.json").write_text(content)
    write_manifest(folder)
    return folder


def test_open_index_opens_the_index_of_either_engine(tmp_path):
    make(tmp_path / "lance")
    for folder in (tmp_path / "lance", str(tmp_path / "lance")):
        found = open_index(folder)
        assert (type(found), len(found)) == (LanceIndex, ROWS)
    found = open_index(str(memory_index(tmp_path / "memory")))
    assert (type(found), len(found)) == (Index, 1)


@pytest.mark.parametrize(
    "content", ["[]", '"lancedb"', "null", "{}", '{"engine": "other"}', '{"engine": ["lancedb"]}']
)
def test_open_index_refuses_a_header_of_another_form(tmp_path, content):
    with pytest.raises(ArtefactError):
        open_index(changed_header(memory_index(tmp_path / "index"), content))


def test_open_index_refuses_the_header_of_another_engine(tmp_path):
    folder = memory_index(tmp_path / "index")
    header = json.loads((folder / "index.json").read_text())
    with pytest.raises(ArtefactError):
        open_index(changed_header(folder, json.dumps(header | {"engine": "lancedb"})))


def test_open_index_names_a_folder_that_is_none(tmp_path):
    with pytest.raises(ArtefactError, match="flipkd index"):
        open_index(tmp_path)
    with pytest.raises(ArtefactError, match="no such folder"):
        open_index(tmp_path / "nowhere")


def test_open_index_names_the_missing_package(tmp_path, monkeypatch):
    make(tmp_path / "lance")
    monkeypatch.setattr("flipkd.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"flipkd\[index\]"):
        open_index(tmp_path / "lance")
