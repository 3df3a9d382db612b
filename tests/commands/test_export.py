"""export: all there or not there; its record says where it came from; a few settings; another dtype."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from command_line import flipkd
from hub_server import hub_server, use_hub
from safetensors.torch import load_file
from tiny_matchers import exported

from flipkd.command_config import VerifyConfig
from flipkd.commands.verify import verify
from flipkd.errors import ArtefactError, ConfigError, MismatchError, ResourceError
from flipkd.exports import transformers_scorer
from flipkd.exports.record import read_record
from flipkd.files import check_manifest, read_json, sha256
from flipkd.matcher import Matcher


def test_export_record_has_all_that_the_score_needs_and_no_path(tiny_matcher, base_models, tmp_path):
    folder = tiny_matcher("llama", "blocked", score={"answer": 0.5, "cosine": 1.0}, symmetric=True)
    result = exported(folder, tmp_path / "out", "merged")
    check_manifest(tmp_path / "out")
    record, matcher = read_record(tmp_path / "out"), Matcher.from_pretrained(folder)
    assert record.matcher_fingerprint == matcher.fingerprint
    assert record.contract_hash == sha256(folder / "matcher.json")
    assert record.contract == matcher.contract.model_copy(update={"base_model_name_or_path": "llama"})
    assert record.check == {name: value for name, value in result.items() if name != "limits"}
    assert len(record.limits) == 4  # the cosine, blocked reading, both orders, letters
    assert str(base_models["llama"].parent) not in (tmp_path / "out" / "flipkd_export.json").read_text()
    assert str(base_models["llama"].parent) not in (tmp_path / "out" / "matcher.json").read_text()


def test_export_and_verify_of_a_matcher_of_the_hub(tiny_matcher, tmp_path, monkeypatch):
    with hub_server() as server:
        use_hub(monkeypatch, server.url, tmp_path / "cache")
        server.add("org/bank-matcher", tiny_matcher())
        exported("org/bank-matcher", tmp_path / "out", "merged")
        settings = {"export": str(tmp_path / "out"), "against": "org/bank-matcher"}
        assert verify(VerifyConfig.check(settings))["beyond"] == []


def test_an_export_beyond_its_bounds_is_not_written(tiny_matcher, tmp_path, monkeypatch):
    monkeypatch.setattr(
        transformers_scorer.TransformersScorer, "scores", lambda self, left, right: np.zeros(len(left))
    )
    with pytest.raises(MismatchError, match=r"not written: .*largest difference of scores .*docs/export.md"):
        exported(tiny_matcher(), tmp_path / "out", "merged")
    assert list(tmp_path.iterdir()) == []
    done = flipkd("export", "--matcher", tiny_matcher(), "--to", "merged", "--output_dir", tmp_path / "out")
    assert done.code == 7
    assert list(tmp_path.iterdir()) == []


def test_export_keeps_an_existing_folder(tiny_matcher, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ResourceError, match="exists already"):
        exported(tiny_matcher(), tmp_path / "out", "merged")
    assert list((tmp_path / "out").iterdir()) == []


def test_dtype_is_that_of_the_weights(tiny_matcher, tmp_path):
    exported(tiny_matcher(), tmp_path / "half", "sequence-classification", dtype="bfloat16")
    assert {tensor.dtype for tensor in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    assert read_json(tmp_path / "half" / "config.json")["dtype"] == "bfloat16"
    assert read_record(tmp_path / "half").dtype == "bfloat16"


def test_export_compares_the_pairs_of_a_file(tiny_matcher, pair_files, tmp_path):
    result = exported(tiny_matcher(), tmp_path / "out", "merged", pairs=pair_files["test"])
    assert result["pairs"] == 24
    assert set(result["average_precision"]) == {"matcher", "export"}


def test_a_kept_teacher_is_part_of_the_merged_export(with_teacher, tmp_path):
    folder = f"{with_teacher}/matcher"
    contract = Matcher.from_pretrained(folder).contract
    assert contract.teacher is not None
    exported(folder, tmp_path / "out", "merged")
    assert (tmp_path / "out" / "teacher" / "model.safetensors").is_file()


def test_a_score_with_the_teacher_is_computed_by_its_library(with_teacher, tmp_path):
    import shutil

    from flipkd.files import write_manifest

    shutil.copytree(f"{with_teacher}/matcher", tmp_path / "m")
    values = read_json(tmp_path / "m" / "matcher.json") | {"score": {"answer": 1.0, "teacher": 3.0}}
    (tmp_path / "m" / "matcher.json").write_text(json.dumps(values))
    write_manifest(tmp_path / "m")
    result = exported(tmp_path / "m", tmp_path / "out", "merged")
    assert result["largest_difference"] < 1e-4


def test_export_refuses_an_unknown_format_and_a_wrong_folder(tiny_matcher, tmp_path):
    done = flipkd("export", "--matcher", tiny_matcher(), "--to", "merge", "--output_dir", tmp_path / "out")
    assert done.code == 2
    with pytest.raises(ArtefactError):
        exported(tmp_path / "nowhere", tmp_path / "out", "merged")
    with pytest.raises(ConfigError):
        exported(tiny_matcher(), tmp_path / "out", "merged", dtype="int8")
