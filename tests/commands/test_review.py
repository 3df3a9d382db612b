"""flipkd review: export, label, import, statistics, and pairs that train, calibrate and evaluate read."""

from __future__ import annotations

import csv
import json

import pytest
from command_line import flipkd
from review_queues import filled_queue, key_of, vote

from flipkd.data.pairs import read_pairs
from flipkd.review.queue import ReviewQueue, Vote
from flipkd.review.sampling import ScoredPair, chosen, pair_key


@pytest.fixture
def queue_file(tmp_path):
    path = tmp_path / "q.db"
    filled_queue(path).close()
    return path


def votes_in(path):
    with ReviewQueue(path) as queue:
        return {pair.key: pair.votes for pair in queue.pairs() if pair.votes}


def succeeded(*words):
    done = flipkd("review", *words)
    assert done.code == 0, done.err
    return done.out


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labelled(path, labels):
    """Fill the labels into an exported csv: number of the pair -> text of the label."""
    rows = table(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"label": labels.get(int(row["text1"].split()[1]), "")})


def test_csv_goes_out_and_comes_back_once(queue_file, tmp_path):
    out = tmp_path / "ann.csv"
    assert f"{out}: 4 pairs" in succeeded("export", queue_file, "--to", "csv", "--output", out, "--limit", 4)
    numbers = {int(row["text1"].split()[1]) for row in table(out)}
    assert 4 in numbers, "the most doubtful pair"
    labelled(out, {4: "match", min(numbers - {4}): "No match", max(numbers): "skip"})
    assert "3 new labels, 0 changed, 0 known" in succeeded("import", queue_file, out)
    before = votes_in(queue_file)
    assert before[key_of(4)] == {"ann": 1}
    assert before[key_of(max(numbers))] == {"ann": None}
    assert "0 new labels, 0 changed, 3 known" in succeeded("import", queue_file, out)
    assert votes_in(queue_file) == before
    labelled(out, {4: "0"})
    assert "1 new labels" in succeeded("import", queue_file, out, "--annotator", "bob")
    assert votes_in(queue_file)[key_of(4)] == {"ann": 1, "bob": 0}
    left = tmp_path / "left.csv"
    succeeded("export", queue_file, "--to", "csv", "--output", left)
    assert len(table(left)) == 8, "pairs with a label are not exported again"


@pytest.mark.scenario("B5")
@pytest.mark.parametrize("words", [("export", "--to", "csv"), ("pairs",)])
def test_a_file_with_labels_of_a_person_is_never_replaced(queue_file, tmp_path, words):
    with ReviewQueue(queue_file) as queue:
        vote(queue, "ann", {0: 0, 1: 1})
    out, content = tmp_path / "train.csv", "text1,text2,label\na,b,1\n"
    out.write_text(content)
    refused = flipkd("review", words[0], queue_file, *words[1:], "--output", out)
    assert (refused.code, "choose another path, or delete the file first" in refused.err) == (5, True)
    assert out.read_text() == content


def test_label_studio_goes_out_and_comes_back(queue_file, tmp_path):
    out = tmp_path / "tasks.json"
    assert f"configuration: {tmp_path / 'tasks.xml'}" in succeeded(
        "export", queue_file, "--to", "label-studio", "--output", out
    )
    tasks = json.loads(out.read_text(encoding="utf-8"))
    assert len(tasks) == 10
    assert "<Choices" in (tmp_path / "tasks.xml").read_text()
    for task in tasks:
        region = task["predictions"][0]["result"][0]
        task["annotations"] = [{"completed_by": 1, "was_cancelled": False, "result": [region]}]
    done = tmp_path / "done.json"
    done.write_text(json.dumps(tasks), encoding="utf-8")
    assert "10 new labels" in succeeded("import", queue_file, done)
    assert votes_in(queue_file)[key_of(0)] == {"label-studio-1": 0}


def test_the_configuration_for_label_studio_replaces_no_other_file(queue_file, tmp_path):
    words = ("export", queue_file, "--to", "label-studio", "--output")
    own = tmp_path / "own.xml"
    own.write_text("<View/>")
    refused = flipkd("review", *words, tmp_path / "own.json")
    assert (refused.code, str(own) in refused.err, own.read_text()) == (5, True, "<View/>")
    succeeded(*words, tmp_path / "tasks.json")
    (tmp_path / "tasks.json").unlink()
    succeeded(*words, tmp_path / "tasks.json")  # tasks.xml is of the earlier export


def test_an_export_of_a_labelled_queue_says_how_to_export_it_again(queue_file, tmp_path):
    with ReviewQueue(queue_file) as queue:
        vote(queue, "ann", dict.fromkeys(range(10), 1))
    words = ("export", queue_file, "--to", "csv", "--output", tmp_path / "o.csv")
    refused = flipkd("review", *words)
    assert (refused.code, "every pair has a label" in refused.err, "--votes 2" in refused.err) == (3, True, True)
    assert "10 pairs" in succeeded(*words, "--votes", 2)


def test_argilla_goes_out_and_comes_back(queue_file, tmp_path):
    out = tmp_path / "records.json"
    succeeded("export", queue_file, "--to", "argilla", "--output", out, "--select", "random", "--limit", 3)
    records = json.loads(out.read_text(encoding="utf-8"))
    for record in records:
        record["responses"] = {"label": [{"value": "match", "user_id": "u"}]}
    out.write_text(json.dumps(records), encoding="utf-8")
    assert "3 new labels" in succeeded("import", queue_file, out)


def test_review_pairs_are_read_by_the_other_commands_and_leave_undecided_ones_out(queue_file, tmp_path):
    with ReviewQueue(queue_file) as queue:
        vote(queue, "ann", {0: 0, 1: 0, 2: 1, 3: 1, 4: None})
        vote(queue, "bob", {0: 0, 1: 1, 2: 1})
    for name in ("p.csv", "p.jsonl"):
        out = tmp_path / name
        assert f"{out}: 3 pairs, 2 match; 1 undecided pairs" in succeeded("pairs", queue_file, "--output", out)
        found = read_pairs(out)
        assert dict(zip(found["text1"], found["label"], strict=True)) == {"left 0": 0, "left 2": 1, "left 3": 1}
        assert found.column_names == ["text1", "text2", "label"]
    succeeded("pairs", queue_file, "--output", tmp_path / "p.csv")  # its own earlier result
    assert {row["weight"] for row in table(tmp_path / "p.csv")} == {"1.0"}


def test_a_text_with_nul_leaves_the_queue_without_it(tmp_path):
    queue_file, key = tmp_path / "q.db", pair_key("a\0 card", "a pin\0")
    with ReviewQueue(queue_file, create=True) as queue:
        queue.add(chosen([ScoredPair("a\0 card", "a pin\0", 0.0, 0.5, "review")], share=0), matcher="m1")
        succeeded("export", queue_file, "--to", "argilla", "--output", tmp_path / "r.json")
        queue.add_votes([Vote(key, "ann", 1)], source="test")
    [record] = json.loads((tmp_path / "r.json").read_text())
    assert record["fields"] == {"text1": "a card", "text2": "a pin"}
    succeeded("pairs", queue_file, "--output", tmp_path / "pairs.csv")
    assert read_pairs(tmp_path / "pairs.csv")["text2"][:] == ["a pin"]


def test_stats_and_list_show_groups_annotators_and_conflicts(queue_file):
    assert "10 pairs, 0 labelled" in succeeded("stats", queue_file)
    with ReviewQueue(queue_file) as queue:
        vote(queue, "ann", {0: 0, 1: 0, 2: 1, 3: 1})
        vote(queue, "bob", {0: 0, 1: 1, 2: 1, 3: 1})
    stats = json.loads(succeeded("stats", queue_file, "--json"))
    assert (stats["labelled"], stats["conflicts"], stats["undecided"], stats["base_rate"]) == (4, 1, 1, None)
    assert stats["agreement"][0]["kappa"] == pytest.approx(0.5)
    [group] = stats["groups"]
    assert (group["decision"], group["pairs"], group["labelled"], group["matches"]) == (
        "review",
        10,
        3,
        pytest.approx(2 / 3),
    )
    text = succeeded("stats", queue_file)
    assert "Cohen's kappa" in text
    assert "| ann " in text
    assert [
        json.loads(line)["text1"] for line in succeeded("list", queue_file, "--state", "conflict").splitlines()
    ] == ["left 1"]
    assert len(succeeded("list", queue_file, "--state", "open", "--limit", 2).splitlines()) == 2


def test_diverse_and_disagreement_use_a_teacher_folder(taught, queue_file, tmp_path):
    with ReviewQueue(queue_file) as queue:
        queue.connection.execute("UPDATE pairs SET teacher_score = NULL")
    arguments = ("export", queue_file, "--to", "csv", "--limit", 3, "--select")
    refused = flipkd("review", *arguments, "disagreement", "--output", tmp_path / "a.csv")
    assert (refused.code, "give --teacher" in refused.err) == (3, True)
    for select in ("disagreement", "diverse"):
        succeeded(*arguments, select, "--output", tmp_path / f"{select}.csv", "--teacher", taught)
        assert len(table(tmp_path / f"{select}.csv")) == 3
    with ReviewQueue(queue_file) as queue:
        assert all(pair.teacher_score is not None for pair in queue.pairs())


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("export", "{q}", "--to", "csv", "--output", "{d}/o.json"), 2, "ends with .csv"),
        (("export", "{d}/none.db", "--to", "csv", "--output", "{d}/o.csv"), 4, "no such review queue"),
        (("import", "{q}", "{d}/other.json"), 3, "is no JSON export of Label Studio or of Argilla"),
        (
            ("import", "{q}", "{d}/bad.csv"),
            3,
            "row 2 (line 3), column 'label': got 'maybe'; write match, no match or skip",
        ),
        (("import", "{q}", "{d}/unknown.csv"), 3, "none of its 1 labelled pairs is in"),
        (("import", "{q}", "{d}/empty.csv"), 3, "has no label of any pair"),
        (("pairs", "{q}", "--output", "{d}/p.csv"), 3, "no pair has a final label"),
        (("pairs", "{q}", "--output", "{d}/p.txt"), 2, "unknown file type"),
        (("exprot",), 2, "No such command"),
        ((), 2, "Missing command"),
    ],
)
def test_review_errors_say_what_to_do(queue_file, tmp_path, words, code, message):
    (tmp_path / "other.json").write_text('[{"a": 1}]')
    (tmp_path / "bad.csv").write_text("text1,text2,label\nleft 1,right 1,1\nleft 2,right 2,maybe\n")
    (tmp_path / "unknown.csv").write_text("text1,text2,label\na,b,1\n")
    (tmp_path / "empty.csv").write_text("text1,text2,label\nleft 1,right 1,\n")
    done = flipkd("review", *(str(word).format(q=queue_file, d=tmp_path) for word in words))
    assert (done.code, message in done.err) == (code, True), done.err
    assert not votes_in(queue_file)
