"""The commands export and verify: what they print, and where the limits of a format are told."""

from __future__ import annotations

import json

from command_line import flipkd


def test_export_prints_the_comparison_and_verify_the_same(tiny_matcher, tmp_path):
    words = ("export", "--matcher", tiny_matcher(), "--to", "sequence-classification", "--output_dir")
    done = flipkd(*words, tmp_path / "a")
    assert done.code == 0, done.err
    assert f"sequence-classification: {tmp_path / 'a'}" in done.out
    assert "is truncated only when both texts together" in done.err
    found = json.loads(flipkd(*words, tmp_path / "b", "--json").out)
    assert found["beyond"] == []
    assert len(found["limits"]) == 3
    again = json.loads(flipkd("verify", tmp_path / "b", "--against", tiny_matcher(), "--json").out)
    assert again["ids_equal"] == found["ids_equal"] == 12


def test_export_says_what_is_wrong_in_one_line(tiny_matcher, tmp_path):
    folder = tiny_matcher(score={"cosine": 1.0})
    done = flipkd("export", "--matcher", folder, "--to", "sentence-transformers", "--output_dir", tmp_path / "out")
    assert done.code == 4
    assert done.err.count("flipkd: ") == 1
    assert "flipkd calibrate --score answer" in done.err
