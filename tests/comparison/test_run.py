"""One run of a comparison: its settings and its identity."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flipkd.comparison.entries import Entry
from flipkd.comparison.systems import SYSTEMS, system_named
from flipkd.errors import ConfigError


def test_run_passes_settings_to_teacher_and_student(run, tmp_path):
    teach = run.teach_config()
    assert (teach.num_train_epochs, teach.seed, teach.train_file) == (7, 4, run.config.train_file)
    train = run.train_config(teach.output_dir)
    assert (train.lora_r, train.seed, train.teacher) == (3, 4, teach.output_dir)
    assert Path(train.output_dir).parent == Path(teach.output_dir).parent == tmp_path / "runs"
    assert Path(train.output_dir).name.startswith("mine-")


def test_run_gives_plain_more_epochs_for_unlabelled_rows(run, tmp_path):
    plain = replace(run, entry=Entry("plain", SYSTEMS["plain"], {}, {"num_train_epochs": 3, "mined_ratio": 0}))
    assert plain.train_config(None).num_train_epochs == 3
    train = run.sets["train"]
    labels = [label if row % 4 else None for row, label in enumerate(train["label"][:])]
    partly = {**run.sets, "train": train.remove_columns("label").add_column("label", labels)}
    assert replace(plain, sets=partly).train_config(None).num_train_epochs == 4  # three of four rows have a label
    mine = tmp_path / "mine.csv"
    mine.write_text(
        "text1,text2,label\n" + "".join(f"a{row},b{row},{row % 2 if row < 4 else ''}\n" for row in range(8))
    )
    own = replace(
        plain,
        entry=Entry("own", SYSTEMS["plain"], {}, {"num_train_epochs": 3, "mined_ratio": 0, "train_file": str(mine)}),
    )
    assert own.train_config(None).num_train_epochs == 6


def test_run_gives_plain_more_epochs_for_the_pool(run, pair_files, tmp_path):
    pool = tmp_path / "pool.csv"
    pool.write_text("text1,text2\n" + "".join(f"a{row},b{row}\n" for row in range(96)) + "a0,b0\n")
    own = {"num_train_epochs": 3, "mined_ratio": 0.5, "unlabelled_file": str(pool)}

    def epochs(system, **changes):
        config = replace(run, entry=Entry("mine", SYSTEMS[system], {}, own | changes)).train_config(None)
        return config.num_train_epochs, config.unlabelled_file

    assert epochs("flipped") == (3, str(pool))
    assert epochs("plain") == epochs("no_teacher") == (3 * (48 + 24 + 96) / 48, None)
    assert epochs("plain", unlabelled_ratio=1) == (3 * (48 + 24 + 48) / 48, None)
    pool.write_text("text\n" + "".join(f"t{row}\n" for row in range(24)))
    assert epochs("plain") == (3 * (48 + 24 + 24) / 48, None)
    assert epochs("plain", unlabelled_file=None) == (3 * (48 + 24) / 48, None)


def test_systems_with_equal_steps_have_them_where_rows_are_unlabelled(run, tmp_path):
    pool = tmp_path / "pool.csv"
    pool.write_text("text1,text2\n" + "".join(f"a{row},b{row}\n" for row in range(96)))
    train = run.sets["train"]
    labels = [label if row % 4 else None for row, label in enumerate(train["label"][:])]
    partly = {**run.sets, "train": train.remove_columns("label").add_column("label", labels)}
    for system, rows in (("plain", 36), ("paper", 48)):  # the labels, or all rows with a teacher
        own = {"num_train_epochs": 3, "unlabelled_file": str(pool)}
        config = replace(run, sets=partly, entry=Entry("mine", SYSTEMS[system], {}, own)).train_config(None)
        assert config.num_train_epochs * rows == pytest.approx(3 * (48 + 48 + 96)), system


def test_identity_has_the_hash_of_the_pool(run, tmp_path):
    pool = tmp_path / "pool.csv"
    pool.write_text("text1,text2\na,b\n")
    for system in ("flipped", "plain"):
        run = replace(run, entry=Entry("mine", SYSTEMS[system], {}, {"unlabelled_file": str(pool)}))
        one = run.identity()
        assert str(pool) not in json.dumps(one)
        pool.write_text("text1,text2\na,c\n")
        assert replace(run).identity() != one
        pool.write_text("text1,text2\na,b\n")
        assert replace(run).identity() == one


def test_output_dir_is_shared_by_equal_settings_only(run):
    same = replace(run, entry=Entry("other", SYSTEMS["flipped"], run.entry.teach, {"lora_r": 9}))
    assert same.teach_config().output_dir == run.teach_config().output_dir
    other = replace(run, entry=Entry("mine", SYSTEMS["flipped"], {"num_train_epochs": 8}, run.entry.train))
    assert other.teach_config().output_dir != run.teach_config().output_dir
    students = [b.train_config(b.teach_config().output_dir).output_dir for b in (run, same, other)]
    assert len(set(students)) == 3, "a student of another teacher is another student"
    assert replace(run, seed=5).teach_config().output_dir != run.teach_config().output_dir


def test_identity_has_the_hash_of_own_files(run, pair_files, tmp_path):
    assert "own_files" not in run.identity()
    mine = tmp_path / "mine.csv"
    train = replace(run, entry=Entry("mine", SYSTEMS["flipped"], {}, {"train_file": str(mine)}))
    teach = replace(run, entry=Entry("mine", SYSTEMS["flipped"], {"train_file": str(mine)}, {}))
    plain = replace(run, entry=Entry("mine", SYSTEMS["plain"], {"train_file": "never read.csv"}, {}))  # has no teacher
    assert "own_files" not in plain.identity()
    rows = Path(pair_files["train"]).read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for kept in (rows, rows[:-1]):
        mine.write_text("".join(kept), encoding="utf-8")
        found += [train.identity(), teach.identity()]
    assert len({json.dumps(identity, sort_keys=True) for identity in found}) == 4
    assert list(found[0]["own_files"]) == ["train_file"]
    assert list(found[1]["own_files"]) == ["teach.train_file"]


def test_identity_has_the_hash_of_a_local_model(run, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    run = replace(run, entry=Entry("mine", SYSTEMS["flipped"], {"teacher_name_or_path": str(folder)}, {}))
    (folder / "weights").write_bytes(b"one")
    before = run.identity()
    assert before == run.identity()
    (folder / "weights").write_bytes(b"another")
    assert before["own_files"].keys() == run.identity()["own_files"].keys() == {"teach.model"}
    assert before != run.identity()


def test_identity_warns_of_leaks_of_own_files(run, pair_files, caplog):
    own = replace(run, entry=Entry("mine", SYSTEMS["plain"], {}, {"train_file": pair_files["test"]}))
    own.identity()
    assert "24 rows of test have a text of mine: train_file (" in caplog.text


def test_identity_has_symmetric_for_students_only(run):
    both = replace(run, config=run.config.model_copy(update={"symmetric": True}))
    assert both.identity() == run.identity() | {"symmetric": True}
    teacher = Entry("teacher", SYSTEMS["teacher"])
    assert replace(both, entry=teacher).identity() == replace(run, entry=teacher).identity()


def test_identity_of_a_blend_has_the_identities_of_its_parts(run, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    part = Entry("mine", SYSTEMS["flipped"], {"teacher_name_or_path": str(model)}, {})
    blend = replace(
        run, entry=Entry("mine+tfidf", system_named("mine+tfidf"), parts=(part, Entry("tfidf", SYSTEMS["tfidf"])))
    )
    before = blend.identity()
    assert [found["system"] for found in before["parts"]] == ["flipped", "tfidf"]
    (model / "weights").write_bytes(b"another")
    assert blend.identity() != before


def test_identity_rejects_a_ratio_without_a_pool(run):
    for system in ("flipped", "plain"):
        unit = replace(run, entry=Entry("mine", SYSTEMS[system], {}, {"unlabelled_ratio": 0.5}))
        with pytest.raises(ConfigError, match="unlabelled_file is not set"):
            unit.identity()


@pytest.mark.parametrize("system", ["flipped", "plain", "untrained"])
def test_identity_has_the_hash_of_a_glossary(run, tmp_path, system):
    terms = tmp_path / "terms.csv"
    run = replace(run, entry=Entry("mine", SYSTEMS[system], {}, {"glossary": str(terms)}))
    terms.write_text("term,definition\nPIN,a number\n")
    before = run.identity()
    terms.write_text("term,definition\nPIN,a secret number\n")
    assert before["own_files"].keys() == {"glossary_hash"}
    assert before != run.identity()


@pytest.mark.parametrize("in_stages", [False, True])
def test_identity_has_the_fingerprints_of_other_teachers(run, taught, tmp_path, in_stages):
    other = tmp_path / "other"
    shutil.copytree(taught, other)
    changes = {"other_teachers": [str(other)]}
    if in_stages:
        changes = {"stages": [{}, {"teacher": "previous_stage", **changes}, {"other_teachers": ["previous_stage"]}]}
    run = replace(run, entry=Entry("mine", SYSTEMS["flipped"], {}, changes))
    before = run.identity()
    facts = json.loads((other / "teacher.json").read_text())
    (other / "teacher.json").write_text(json.dumps(facts | {"fingerprint": "0" * 64}))
    assert before["own_files"].keys() == run.identity()["own_files"].keys() == {"other_teachers"}
    assert before != run.identity()
    folds = {"fingerprint": "1" * 64, "stored": 1}
    (other / "teacher.json").write_text(json.dumps(facts | {"folds": folds}))
    assert before != run.identity()
