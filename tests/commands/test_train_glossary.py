"""train --glossary: the matcher has the definitions, and a run with changed ones is another run."""

from __future__ import annotations

import json

from command_line import flipkd, given, student


def test_the_definitions_are_in_the_matcher_and_a_changed_file_is_refused(base_models, pair_files, tmp_path):
    file = tmp_path / "terms.csv"
    file.write_text("term,definition\ncard,a piece of plastic\n")
    changes = {"objectives": "{answer_cross_entropy: 1}", "training_arguments": "{max_steps: 1}"}
    words = ("train", *given(pair_files), *student(base_models["llama"], **changes), "--glossary", file)
    done = flipkd(*words, "--output_dir", tmp_path / "run")
    assert done.code == 0, done.err
    contract = json.loads((tmp_path / "run" / "matcher" / "matcher.json").read_text())
    assert contract["glossary"] == {"definitions": {"card": ["a piece of plastic"]}, "max_characters": 300}
    file.write_text("term,definition\ncard,a payment card\n")
    changed = flipkd(*words, "--output_dir", tmp_path / "run")
    assert changed.code == 4
    assert "glossary" in changed.err
    file.write_text("term\ncard\n")
    assert flipkd(*words, "--output_dir", tmp_path / "other").code == 3
