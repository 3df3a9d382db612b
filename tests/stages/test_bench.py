"""One unit of a comparison: its settings, and all that its scores depend on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flipkd.errors import ConfigError
from flipkd.stages.entries import Entry


def test_settings_of_the_comparison_reach_teacher_and_student(bench, tmp_path):
    teach = bench.teach_config()
    assert (teach.num_train_epochs, teach.seed, teach.train_file) == (7, 4, bench.config.train_file)
    train = bench.train_config(teach.output_dir)
    assert (train.lora_r, train.seed, train.teacher) == (3, 4, teach.output_dir)
    assert Path(train.output_dir).parent == Path(teach.output_dir).parent == tmp_path / "runs"
    assert Path(train.output_dir).name.startswith("mine-")


def test_the_plain_student_makes_up_for_rows_without_a_label(bench, tmp_path):
    plain = replace(bench, entry=Entry("plain", "plain", {}, {"num_train_epochs": 3, "mined_ratio": 0}))
    assert plain.train_config(None).num_train_epochs == 3
    train = bench.sets["train"]
    labels = [label if row % 4 else None for row, label in enumerate(train["label"][:])]
    partly = {**bench.sets, "train": train.remove_columns("label").add_column("label", labels)}
    assert replace(plain, sets=partly).train_config(None).num_train_epochs == 4  # three of four rows have a label
    mine = tmp_path / "mine.csv"
    mine.write_text(
        "text1,text2,label\n" + "".join(f"a{row},b{row},{row % 2 if row < 4 else ''}\n" for row in range(8))
    )
    own = replace(
        plain, entry=Entry("own", "plain", {}, {"num_train_epochs": 3, "mined_ratio": 0, "train_file": str(mine)})
    )
    assert own.train_config(None).num_train_epochs == 6


def test_the_plain_student_makes_up_for_the_pool_that_it_does_not_read(bench, pair_files, tmp_path):
    pool = tmp_path / "pool.csv"
    pool.write_text("text1,text2\n" + "".join(f"a{row},b{row}\n" for row in range(96)) + "a0,b0\n")
    own = {"num_train_epochs": 3, "mined_ratio": 0.5, "unlabelled_file": str(pool)}

    def epochs(system, **changes):
        config = replace(bench, entry=Entry("mine", system, {}, own | changes)).train_config(None)
        return config.num_train_epochs, config.unlabelled_file

    assert epochs("flipped") == (3, str(pool))
    assert epochs("plain") == epochs("no_teacher") == (3 * (48 + 24 + 96) / 48, None)
    assert epochs("plain", unlabelled_ratio=1) == (3 * (48 + 24 + 48) / 48, None)
    pool.write_text("text\n" + "".join(f"t{row}\n" for row in range(24)))
    assert epochs("plain") == (3 * (48 + 24 + 24) / 48, None)
    assert epochs("plain", unlabelled_file=None) == (3 * (48 + 24) / 48, None)


def test_a_share_of_no_pool_is_refused_before_any_unit_runs(bench):
    for system in ("flipped", "plain"):
        unit = replace(bench, entry=Entry("mine", system, {}, {"unlabelled_ratio": 0.5}))
        with pytest.raises(ConfigError, match="there is no unlabelled_file"):
            unit.identity()


def test_what_is_in_a_pool_is_part_of_a_unit(bench, tmp_path):
    pool = tmp_path / "pool.csv"
    pool.write_text("text1,text2\na,b\n")
    for system in ("flipped", "plain"):
        unit = replace(bench, entry=Entry("mine", system, {}, {"unlabelled_file": str(pool)}))
        one = unit.identity()
        assert str(pool) not in json.dumps(one)
        pool.write_text("text1,text2\na,c\n")
        assert replace(unit).identity() != one
        pool.write_text("text1,text2\na,b\n")
        assert replace(unit).identity() == one


def test_equal_settings_share_a_folder_and_other_settings_do_not(bench):
    same = replace(bench, entry=Entry("other", "flipped", bench.entry.teach, {"lora_r": 9}))
    assert same.teach_config().output_dir == bench.teach_config().output_dir
    other = replace(bench, entry=Entry("mine", "flipped", {"num_train_epochs": 8}, bench.entry.train))
    assert other.teach_config().output_dir != bench.teach_config().output_dir
    students = [b.train_config(b.teach_config().output_dir).output_dir for b in (bench, same, other)]
    assert len(set(students)) == 3, "a student of another teacher is another student"
    assert replace(bench, seed=5).teach_config().output_dir != bench.teach_config().output_dir


def test_what_is_in_files_of_its_own_is_part_of_a_unit(bench, pair_files, tmp_path):
    assert "own_files" not in bench.identity()
    mine = tmp_path / "mine.csv"
    train = replace(bench, entry=Entry("mine", "flipped", {}, {"train_file": str(mine)}))
    teach = replace(bench, entry=Entry("mine", "flipped", {"train_file": str(mine)}, {}))
    plain = replace(bench, entry=Entry("mine", "plain", {"train_file": "never read.csv"}, {}))  # has no teacher
    assert "own_files" not in plain.identity()
    rows = Path(pair_files["train"]).read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for kept in (rows, rows[:-1]):
        mine.write_text("".join(kept), encoding="utf-8")
        found += [train.identity(), teach.identity()]
    assert len({json.dumps(identity, sort_keys=True) for identity in found}) == 4
    assert list(found[0]["own_files"]) == ["train_file"]
    assert list(found[1]["own_files"]) == ["teach.train_file"]


def test_a_model_in_a_folder_counts_by_what_is_in_it(bench, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    unit = replace(bench, entry=Entry("mine", "flipped", {"teacher_name_or_path": str(folder)}, {}))
    (folder / "weights").write_bytes(b"one")
    before = unit.identity()
    assert before == unit.identity()
    (folder / "weights").write_bytes(b"another")
    assert before["own_files"].keys() == unit.identity()["own_files"].keys() == {"teach.model"}
    assert before != unit.identity()


def test_pairs_of_a_variant_are_held_against_the_test_pairs(bench, pair_files, caplog):
    own = replace(bench, entry=Entry("mine", "plain", {}, {"train_file": pair_files["test"]}))
    own.identity()
    assert "mine: train_file/test: 24 rows hold a text that stands on both sides" in caplog.text


def test_both_orders_are_part_of_a_students_unit_only(bench):
    both = replace(bench, config=bench.config.model_copy(update={"symmetric": True}))
    assert both.identity() == bench.identity() | {"symmetric": True}
    teacher = Entry("teacher", "teacher")
    assert replace(both, entry=teacher).identity() == replace(bench, entry=teacher).identity()


def test_a_blend_depends_on_all_that_its_parts_depend_on(bench, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    part = Entry("mine", "flipped", {"teacher_name_or_path": str(model)}, {})
    blend = replace(bench, entry=Entry("mine+tfidf", "mine+tfidf", parts=(part, Entry("tfidf", "tfidf"))))
    before = blend.identity()
    assert [found["system"] for found in before["parts"]] == ["flipped", "tfidf"]
    (model / "weights").write_bytes(b"another")
    assert blend.identity() != before
