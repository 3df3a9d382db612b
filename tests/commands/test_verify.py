"""verify: the figures of an export on pairs; exit code 7 beyond the bounds, for a changed file and for another matcher."""

from __future__ import annotations

import json

import pytest
from command_line import flipkd
from safetensors.torch import load_file, save_file
from tiny_matchers import exported

from flipkd.errors import ArtefactError, MismatchError
from flipkd.files import write_manifest


@pytest.fixture
def merged(tiny_matcher, tmp_path):
    exported(tiny_matcher(), tmp_path / "out", "merged")
    return tmp_path / "out"


def test_verify_prints_the_figures(merged, tiny_matcher, pair_files):
    words = ("verify", merged, "--against", tiny_matcher(), "--pairs", pair_files["test"])
    done = flipkd(*words)
    assert done.code == 0, done.err
    for line in (
        "token ids equal",
        "largest difference of scores",
        "Spearman",
        "decisions flipped",
        "AP of the export",
    ):
        assert line in done.out
    found = json.loads(flipkd(*words, "--json").out)
    assert (found["format"], found["library"], found["dtype"]) == ("merged", "transformers", "float32")
    assert (found["pairs"], found["ids_equal"], found["beyond"]) == (24, 24, [])


def test_verify_without_pairs_takes_the_sample(merged, tiny_matcher):
    assert json.loads(flipkd("verify", merged, "--against", tiny_matcher(), "--json").out)["pairs"] == 12


def test_verify_ends_with_7_beyond_the_bounds(merged, tiny_matcher):
    tensors = load_file(merged / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layers.0.mlp.up_proj.weight"))
    tensors[name] = tensors[name] * 1.05
    save_file(tensors, merged / "model.safetensors", metadata={"format": "pt"})
    done = flipkd("verify", merged, "--against", tiny_matcher())
    assert done.code == 4  # the manifest notices first
    assert "sha256 mismatch" in done.err
    write_manifest(merged)
    done = flipkd("verify", merged, "--against", tiny_matcher())
    assert done.code == 7
    assert "the largest difference of scores is" in done.err
    assert "token ids equal" in done.out


def test_verify_ends_with_7_for_another_matcher(merged, tiny_matcher):
    done = flipkd("verify", merged, "--against", tiny_matcher(threshold=0.5))
    assert done.code == 7
    assert "give the matcher that it came from" in done.err


def test_verify_refuses_a_folder_that_is_no_export(tiny_matcher, tmp_path):
    done = flipkd("verify", tiny_matcher(), "--against", tiny_matcher())
    assert done.code == 4
    assert "flipkd export wrote" in done.err


def test_verify_errors_have_their_exit_codes():
    assert MismatchError.exit_code == 7
    assert ArtefactError.exit_code == 4
