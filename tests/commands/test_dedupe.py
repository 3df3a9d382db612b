"""flipkd dedupe: from records to clusters, of one file and two, resumed after a kill, with another threshold."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from command_line import flipkd
from killed_dedupe import dedupe_until
from worlds import exit_code_of

from flipkd.commands import match
from flipkd.commands.dedupe import clusters_text
from flipkd.matcher import Matcher

KINDS = ["card", "pin", "account", "transfer", "fee"]
RECORDS = [(f"s{n}", f"{KINDS[n % 5]} {'abcdefg'[n // 5]}") for n in range(30)]  # 5 entities of 6 records each


def write(path, records=RECORDS, names=("sku", "name")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *records])
    return path


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def same_kind(monkeypatch):
    """A matcher that finds two records of the same kind to match; the pairs that it scored."""
    scored = []

    def predict(self, pairs, **_):
        scored.extend(pairs)
        return np.array([self.threshold + (5 if a.split()[0] == b.split()[0] else -5) for a, b in pairs], np.float32)

    monkeypatch.setattr(Matcher, "predict", predict)
    return scored


def run(with_teacher, folder, *words):
    return flipkd("dedupe", *words, "--matcher", with_teacher, "--output_dir", folder)


def test_records_of_one_entity_are_one_cluster(with_teacher, tmp_path, same_kind):
    records = [*RECORDS, ("s30", "card  a"), ("s31", "other"), ("s32", "card g")]
    file = write(tmp_path / "records.csv", records)
    words = (file, "--text", "name", "--id", "sku", "--top_k", 31)
    done = run(with_teacher, tmp_path / "out", *words)
    assert done.code == 0, done.err
    rows = read(tmp_path / "out" / "clusters.csv")
    assert list(rows[0]) == ["cluster", "sku", "name"]
    assert [(row["sku"], row["name"]) for row in rows] == records
    assert [int(row["cluster"]) for row in rows] == [*(n % 5 + 1 for n in range(30)), 1, 32, 1]
    assert all("card  a" not in pair for pair in same_kind), "a copy is joined without the model"
    pairs = read(tmp_path / "out" / "pairs.csv")
    assert len(pairs) == 32 * 31 / 2 == len(same_kind)
    assert {"id1", "id2", "similarity", "rules", "probability", "decision"} <= set(pairs[0])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["entities"], summary["clusters"], summary["largest"]) == (6, 5, {"cluster": 1, "records": 8})
    assert "| records in them " in done.out


def test_dedupe_links_two_files(with_teacher, tmp_path, same_kind):
    left, right = write(tmp_path / "l.csv", RECORDS[:7]), write(tmp_path / "r.csv", RECORDS[20:23], ("key", "title"))
    words = (left, right, "--text", "name", "--text_right", "title", "--top_k", 3)
    done = run(with_teacher, tmp_path / "out", *words)
    assert done.code == 0, done.err
    assert [row["cluster"] for row in read(tmp_path / "out" / "clusters_left.csv")] == list("1234512")
    rows = read(tmp_path / "out" / "clusters_right.csv")
    assert ([row["cluster"] for row in rows], list(rows[0])) == (list("123"), ["cluster", "key", "title"])
    assert "| clusters with records of both files | 3 " in done.out


def test_another_threshold_scores_nothing_again(with_teacher, tmp_path, same_kind):
    words = (write(tmp_path / "r.csv"), "--text", "name", "--top_k", 8)
    assert run(with_teacher, tmp_path / "out", *words).code == 0
    same_kind.clear()
    done = run(with_teacher, tmp_path / "out", *words, "--threshold", 1, "--format", "jsonl")
    assert (done.code, same_kind, "scored pairs of an earlier run are used" in done.err) == (0, [], True), done.err
    rows = [json.loads(line) for line in (tmp_path / "out" / "clusters.jsonl").read_text().splitlines()]
    assert [row["cluster"] for row in rows] == [*range(1, 31)]
    done = run(with_teacher, tmp_path / "out", *words, "--equal", "name")
    assert (done.code, "equal was" in done.err) == (4, True), done.err
    write(tmp_path / "r.csv", RECORDS[:9])
    done = run(with_teacher, tmp_path / "out", *words)
    assert (done.code, "files has other content" in done.err) == (4, True), done.err


@pytest.mark.parametrize("kind", ["encoder", "teacher"])
def test_changed_labels_and_a_changed_encoder_are_another_run(
    with_teacher, taught, encoders, tmp_path, same_kind, kind
):
    labels, encoder = tmp_path / "known.csv", tmp_path / "encoder"
    shutil.copytree(encoders / "bi" if kind == "encoder" else taught, encoder)
    labels.write_text("row1,row2\n1,6\n")
    words = (write(tmp_path / "r.csv"), "--text", "name", "--top_k", 8, "--labels", labels, "--encoder", encoder)
    assert run(with_teacher, tmp_path / "out", *words).code == 0
    done = run(with_teacher, tmp_path / "out", *words)
    assert done.code == 0, done.err
    labels.write_text("row1,row2\n1,6\n1,2\n")
    done = run(with_teacher, tmp_path / "out", *words)
    assert (done.code, "labels_hash has other content" in done.err) == (4, True), done.err
    labels.write_text("row1,row2\n1,6\n")
    changed = encoder / ("teacher.json" if kind == "teacher" else "README.md")
    facts = json.loads(changed.read_text()) if kind == "teacher" else {}
    changed.write_text(json.dumps(facts | {"fingerprint": "0" * 64}))
    done = run(with_teacher, tmp_path / "out", *words)
    assert (done.code, "encoder_hash has other content" in done.err) == (4, True), done.err


def test_a_weak_match_between_two_groups_is_reported(with_teacher, tmp_path, monkeypatch):
    def predict(self, pairs, **_):
        near = {("card a", "pin a"), ("pin a", "card a")}
        strong = [a.split()[0] == b.split()[0] for a, b in pairs]
        return np.array(
            [self.threshold + (1e-3 if p in near else 50 if s else -50) for p, s in zip(pairs, strong, strict=True)]
        )

    monkeypatch.setattr(Matcher, "predict", predict)
    done = run(with_teacher, tmp_path / "out", write(tmp_path / "r.csv"), "--text", "name", "--top_k", 29)
    assert done.code == 0, done.err
    assert "1 weak matches alone hold a cluster together: cluster 1 (12 records) by rows 1 and 2" in done.err
    [row] = read(tmp_path / "out" / "weak_matches.csv")
    assert (row["text1"], row["text2"]) == ("card a", "pin a")
    done = run(with_teacher, tmp_path / "out", tmp_path / "r.csv", "--text", "name", "--top_k", 29, "--weak_margin", 0)
    assert (done.code, "weak matches alone" in done.err) == (0, False), done.err
    assert read(tmp_path / "out" / "weak_matches.csv") == []


def test_records_without_candidates_are_entities_of_their_own(with_teacher, tmp_path):
    file = write(tmp_path / "r.csv", RECORDS[:3])
    done = run(with_teacher, tmp_path / "out", file, "--text", "name", "--top_k", 0, "--equal", "sku")
    assert done.code == 0, done.err
    assert [row["cluster"] for row in read(tmp_path / "out" / "clusters.csv")] == list("123")


@pytest.mark.parametrize(
    ("names", "words", "code", "message"),
    [
        (("cluster", "name"), [], 2, "has a column 'cluster', which the result adds"),
        (("sku", "name"), ["--keep", "nme"], 3, "did you mean 'name'?"),
        (("sku", "name"), ["--matcher", "/no/such"], 4, "/no/such"),
        (("sku", "name"), ["--threshold", "1.5"], 2, "threshold is 1.5"),
    ],
)
def test_dedupe_leaves_no_run_of_settings_that_cannot_be_used(with_teacher, tmp_path, names, words, code, message):
    file = write(tmp_path / "r.csv", RECORDS[:3], names)
    done = flipkd("dedupe", file, "--text", "name", "--matcher", with_teacher, "--output_dir", tmp_path / "o", *words)
    assert (done.code, message in done.err) == (code, True), done.err
    assert not (tmp_path / "o" / "run.json").exists()


@pytest.fixture(scope="module")
def unbroken(with_teacher, tmp_path_factory):
    """The folder of an unbroken run of the real matcher."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = run(
        with_teacher, folder / "out", write(folder / "r.csv"), "--text", "name", "--top_k", 3, "--batch_size", 1
    )
    assert done.code == 0, done.err
    return folder / "out"


@pytest.mark.slow
@pytest.mark.scenario("B2", "L14")
@pytest.mark.parametrize(("place", "call"), [("vectors", 1), ("candidates", 1), ("scores", 4), ("clusters", 1)])
def test_dedupe_resumes_a_killed_run_to_the_result_of_an_unbroken_one(
    with_teacher, tmp_path, monkeypatch, unbroken, place, call
):
    file, count = write(tmp_path / "r.csv"), len(read(unbroken / "pairs.csv"))
    settings = {"left": str(file), "text": ["name"], "top_k": 3, "batch_size": 1, "matcher": with_teacher}
    assert exit_code_of(dedupe_until, settings | {"output_dir": str(tmp_path / "out")}, place, call) == -9
    assert not (tmp_path / "out" / "summary.json").exists()
    predict, scored = Matcher.predict, []

    def counted(self, pairs, **settings):
        scored.extend(pairs)
        return predict(self, pairs, **settings)

    monkeypatch.setattr(Matcher, "predict", counted)
    monkeypatch.setattr(match, "BLOCK", 8)
    done = run(with_teacher, tmp_path / "out", file, "--text", "name", "--top_k", 3, "--batch_size", 1)
    assert done.code == 0, done.err
    assert len(scored) == {"scores": count - 3 * 8, "clusters": 0}.get(place, count)
    for name in ("pairs.csv", "clusters.csv", "weak_matches.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (unbroken / name).read_bytes()


@pytest.mark.slow
@pytest.mark.scenario("B5")
def test_dedupe_resumes_after_a_full_disk_at_any_write(with_teacher, tmp_path, monkeypatch, unbroken):
    import os

    file, fsync, codes = write(tmp_path / "r.csv"), os.fsync, []
    for limit in range(0, 60, 4):
        calls = []

        def full(descriptor, calls=calls, limit=limit):
            calls.append(1)
            if len(calls) > limit:
                raise OSError(28, "No space left on device")
            return fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            done = run(with_teacher, tmp_path / "out", file, "--text", "name", "--top_k", 3, "--batch_size", 1)
        codes.append(done.code)
        if done.code == 0:
            break
        assert (done.code, "the disk is full" in done.err) == (5, True), done.err
        assert not list((tmp_path / "out").glob(".partial-*"))
    assert codes[-1] == 0
    assert len(codes) > 3
    for name in ("pairs.csv", "clusters.csv", "weak_matches.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (unbroken / name).read_bytes()


def test_clusters_have_their_counts_and_files():
    found = {
        "records": [3], "candidates": 3, "matches": 1, "review": 0, "entities": 2, "clusters": 1, "clustered": 2,
        "largest": {"cluster": 1, "records": 2}, "weak": 1, "files": ["a.csv", "b.csv"],
    }  # fmt: skip
    text = clusters_text(found)
    assert "2 records (cluster 1)" in text
    assert "review" not in text
    assert "recall" not in text
    assert "of both files" not in text
    assert text.endswith("\na.csv\nb.csv")
    assert "| recall of known matches among them | 0.7500 " in clusters_text(found | {"recall": 0.75})
    text = clusters_text(found | {"review": 2, "linked": 1, "records": [3, 4]})
    assert "| 3 + 4 " in text
    assert "| pairs for review" in text
    assert "| clusters with records of both files | 1 " in text
