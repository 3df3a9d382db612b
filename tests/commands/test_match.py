"""flipkd match: CSV and JSON lines, unusual texts unchanged, resumed output, errors that name rows."""

from __future__ import annotations

import csv
import itertools
import json
import tracemalloc
import unicodedata

import numpy as np
import pytest
from command_line import flipkd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flipkd import pair_scorer
from flipkd.command_config import MatchConfig
from flipkd.commands import match
from flipkd.commands.match_rows import to_csv, to_jsonl
from flipkd.data.pairs import read_pairs
from flipkd.matcher import Matcher

UNUSUAL = [
    "=1+1",
    "+1",
    "-1",
    "@x",
    "\tx",
    "{{7*7}}",
    "%s %d",
    "<bos><eos>",
    "<think>",
    "two\nlines",
    "two\rlines",
    'a "b", c',
    "日本 😀",
]


@pytest.fixture
def unusual_pairs(tmp_path):
    with (tmp_path / "odd.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("text1", "text2"), *((text, "my card") for text in UNUSUAL)])
    return tmp_path / "odd.csv"


def test_match_returns_unusual_texts_unchanged(trained, unusual_pairs, tmp_path):
    done = flipkd("match", "--matcher", trained, unusual_pairs)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["text1"] for row in rows] == UNUSUAL
    assert len({row["score"] for row in rows}) > len(UNUSUAL) / 2
    for name in ("o.jsonl", "deep/er/o.csv"):
        written_file = flipkd("match", "--matcher", trained, unusual_pairs, "--output", tmp_path / name)
        matches = sum(row["decision"] == "match" for row in rows)
        assert (written_file.code, written_file.out) == (
            0,
            f"{tmp_path / name}: {len(UNUSUAL)} pairs, {matches} match\n",
        ), written_file.err
    assert (tmp_path / "o.jsonl").read_text(encoding="utf-8") == done.out
    with (tmp_path / "deep/er/o.csv").open(newline="", encoding="utf-8") as handle:
        written = list(csv.DictReader(handle))
    guarded = {"=1+1", "\tx"}
    assert [row["text1"] for row in written] == ["'" + text if text in guarded else text for text in UNUSUAL]
    assert [float(row["score"]) for row in written] == [row["score"] for row in rows]


def test_match_of_one_pair_is_the_same_row_as_in_a_file(trained, unusual_pairs):
    rows = flipkd("match", "--matcher", trained, unusual_pairs, "--batch_size", 1).out.splitlines()
    done = flipkd("match", "--matcher", f"{trained}/matcher", "--text1", UNUSUAL[0], "--text2", "my card")
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads(rows[0])


def test_match_ignores_labels(trained, tmp_path):
    (tmp_path / "p.csv").write_text("text1,text2,label,score\npin,my card,graded 3,high\n")
    done = flipkd("match", "--matcher", trained, tmp_path / "p.csv")
    assert done.code == 0, done.err
    assert json.loads(done.out)["text1"] == "pin"


def test_keep_puts_columns_first_and_unchanged(trained, tmp_path):
    (tmp_path / "p.csv").write_text("id,text1,price,text2\n007,my card,=1+1,my pin\n,lost card,2.50,card lost\n")
    arguments = ("match", "--matcher", trained, tmp_path / "p.csv", "--keep", "price", "--keep", "id")
    rows = [json.loads(line) for line in flipkd(*arguments).out.splitlines()]
    assert list(rows[0]) == ["price", "id", "text1", "text2", "score", "probability", "decision"]
    assert [(row["id"], row["price"]) for row in rows] == [("007", "=1+1"), ("", "2.50")]
    assert flipkd(*arguments, "--output", tmp_path / "o.csv").code == 0
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as handle:
        assert [(row["id"], row["price"]) for row in csv.DictReader(handle)] == [("007", "'=1+1"), ("", "2.50")]
    assert flipkd(*arguments, "--output", tmp_path / "o.csv", "--no-guard").code == 0
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as handle:
        assert [row["price"] for row in csv.DictReader(handle)] == ["=1+1", "2.50"]
    for name, code, message in (
        ("idd", 3, "did you mean 'id'?"),
        ("text1", 2, "the result has a column of that name"),
    ):
        done = flipkd("match", "--matcher", "none", tmp_path / "p.csv", "--keep", name)
        assert (done.code, message in done.err) == (code, True), done.err


@pytest.mark.scenario("D11")
def test_match_names_rows_with_empty_texts_before_loading(tmp_path):
    rows = ["text1,text2", *["a,b"] * 2, ",b", "a, ", "\u200b,b", *["a,"] * 4]
    (tmp_path / "e.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = flipkd("match", "--matcher", tmp_path / "none", tmp_path / "e.csv")
    assert (done.code, done.out) == (3, "")
    assert "7 rows have an empty text (row 3, 4, 5, 6, 7, ...); fill or remove them" in done.err


@pytest.mark.scenario("B5")
def test_match_refuses_an_output_that_cannot_be_written_before_scoring(unusual_pairs, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for output in (tmp_path / "file" / "o.csv", tmp_path / "folder.csv"):
        done = flipkd("match", "--matcher", tmp_path / "none", unusual_pairs, "--output", output)
        assert done.code == 5
        assert f"flipkd: {output}: " in done.err


@pytest.mark.scenario("B5")
def test_match_replaces_no_memory(unusual_pairs, tmp_path):
    memory = tmp_path / "reviewed.csv"  # an earlier result, and a column of labels that people filled
    memory.write_text("text1,text2,score,probability,decision,label\na,b,1,1,match,0\n")
    words = ("--matcher", tmp_path / "none", "--memory", memory, "--output", memory)
    done = flipkd("match", unusual_pairs, *words)
    assert (done.code, "is the input file" in done.err) == (2, True), done.err
    assert memory.read_text().endswith(",0\n")


@pytest.mark.scenario("B5")
@pytest.mark.parametrize("name", ["o.csv", "o.jsonl"])
def test_match_replaces_its_own_result_and_no_other_file(trained, unusual_pairs, tmp_path, name):
    arguments = ("match", "--matcher", trained, unusual_pairs, "--output", tmp_path / name)
    assert flipkd(*arguments).code == 0
    first = (tmp_path / name).read_bytes()
    assert flipkd(*arguments).code == 0
    assert (tmp_path / name).read_bytes() == first
    (tmp_path / name).write_text("text1,text2,label\na,b,1\n")
    done = flipkd(*arguments)
    assert (done.code, "is no earlier result of this command" in done.err) == (5, True)
    assert (tmp_path / name).read_text() == "text1,text2,label\na,b,1\n"


@pytest.mark.slow
@pytest.mark.scenario("L14", "B2")
@pytest.mark.parametrize("name", ["o.csv", "o.jsonl"])
def test_stopped_match_resumes_and_scores_nothing_twice(trained, unusual_pairs, tmp_path, monkeypatch, name):
    arguments = ("match", "--matcher", trained, unusual_pairs, "--batch_size", 1)
    complete = tmp_path / f"whole-{name}"
    assert flipkd(*arguments, "--output", complete).code == 0
    monkeypatch.setattr(match, "BLOCK", 4)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    predict, scored = Matcher.predict, []

    def stop_after_8(self, pairs, **settings):
        if len(scored) == 8:
            raise KeyboardInterrupt
        scored.extend(pairs)
        return predict(self, pairs, **settings)

    monkeypatch.setattr(Matcher, "predict", stop_after_8)
    stopped = flipkd(*arguments, "--output", tmp_path / name)
    assert (stopped.code, "run the same command to resume" in stopped.err) == (75, True)
    assert not (tmp_path / name).exists()
    monkeypatch.setattr(
        Matcher, "predict", lambda self, pairs, **s: (scored.extend(pairs), predict(self, pairs, **s))[1]
    )
    done = flipkd(*arguments, "--output", tmp_path / name)
    assert (done.code, "8 of 13 pairs" in done.err) == (0, True), done.err
    assert [left for left, _ in scored] == UNUSUAL
    assert (tmp_path / name).read_text(encoding="utf-8") == complete.read_text(encoding="utf-8")
    assert done.out.split(": ")[1] == flipkd(*arguments, "--output", complete).out.split(": ")[1]


@pytest.mark.slow
@pytest.mark.scenario("L14")
def test_kill_between_score_and_write_loses_one_block(trained, unusual_pairs, tmp_path, monkeypatch):
    arguments = ("match", "--matcher", trained, unusual_pairs, "--batch_size", 1)
    complete, output = tmp_path / "whole.csv", tmp_path / "o.csv"
    assert flipkd(*arguments, "--output", complete).code == 0
    monkeypatch.setattr(match, "BLOCK", 4)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    predict, scored, kills = Matcher.predict, [], [4, 12]

    def killed(self, pairs, **settings):
        scored.extend(pairs)
        found = predict(self, pairs, **settings)
        if len(scored) in kills:
            kills.remove(len(scored))
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Matcher, "predict", killed)
    codes = [flipkd(*arguments, "--output", output).code for _ in range(3)]
    assert codes == [75, 75, 0]
    assert len(scored) == len(UNUSUAL) + 2 * 4, "each kill loses the block that was not written"
    assert output.read_text(encoding="utf-8") == complete.read_text(encoding="utf-8")


@pytest.mark.scenario("B4")
def test_match_refuses_a_file_that_changes_while_it_is_scored(trained, unusual_pairs, tmp_path, monkeypatch):
    predict = Matcher.predict

    def append_a_row(self, pairs, **settings):
        with unusual_pairs.open("a", encoding="utf-8") as file:
            file.write("one,more\n")
        return predict(self, pairs, **settings)

    monkeypatch.setattr(Matcher, "predict", append_a_row)
    done = flipkd("match", "--matcher", trained, unusual_pairs, "--output", tmp_path / "o.csv")
    assert (done.code, "the file changed while it was scored" in done.err) == (3, True)
    assert not (tmp_path / "o.csv").exists()


def test_output_format_follows_the_file_name(trained, unusual_pairs, tmp_path):
    assert flipkd("match", "--matcher", trained, unusual_pairs, "--output", f"{tmp_path}/t.csv/").code == 0
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").startswith("text1,text2,score")


@pytest.mark.scenario("B6", "L14")
def test_match_in_blocks_returns_the_same_rows(trained, tmp_path, monkeypatch):
    rows = [json.dumps({"text1": text, "text2": f"card {row}"}) for row, text in enumerate(UNUSUAL)]
    (tmp_path / "p.jsonl").write_text("\n".join(rows), encoding="utf-8")
    arguments = ("match", "--matcher", trained, tmp_path / "p.jsonl", "--batch_size", 1)
    complete = flipkd(*arguments)
    assert [json.loads(line)["text2"] for line in complete.out.splitlines()] == [
        f"card {row}" for row in range(len(UNUSUAL))
    ]
    monkeypatch.setattr(match, "BLOCK", 2)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 1)
    assert flipkd(*arguments).out == complete.out


MIXED = [
    "\u05e9\u05dc\u05d5\u05dd my card",  # Hebrew, a right-to-left script
    "\u202emy card\u202c",
    "\u2067card\u2069 \u0628\u0637\u0627\u0642\u0629",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
    "z\u0335\u0301a\u0308lgo",
    "cafe\u0301",
    "caf\u00e9",
    "pin\u200b\u00ad code",
    "\ufeffmark",
    "\ufb01ne \uff33IM",
]


@pytest.mark.scenario("D12")
@pytest.mark.parametrize("name", ["o.csv", "o.jsonl"])
def test_match_returns_texts_of_every_script_byte_for_byte(trained, tmp_path, name):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"text1": t, "text2": "my card"}) + "\n" for t in MIXED))
    done = flipkd("match", "--matcher", trained, tmp_path / "p.jsonl", "--output", tmp_path / name)
    assert done.code == 0, done.err
    assert read_pairs(tmp_path / name)["text1"][:] == MIXED
    assert unicodedata.normalize("NFC", MIXED[5]) == MIXED[6]


@pytest.mark.slow
@pytest.mark.scenario("D12")
def test_to_csv_and_to_jsonl_write_texts_that_are_read_back_unchanged(tmp_path_factory):
    folder, text = (
        tmp_path_factory.mktemp("any"),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    )

    pair = st.tuples(text, text).filter(lambda pair: "".join(pair).strip(" \t\r\n,"))  # readers skip blank rows

    @settings(deadline=None, max_examples=50)
    @given(st.lists(pair, min_size=1, max_size=4))
    @example([(left, right) for left, right in itertools.pairwise(MIXED)])
    def check(pairs):
        rows = [{"text1": left, "text2": right} for left, right in pairs]
        for name, written in (("o.jsonl", to_jsonl(rows)), ("o.csv", to_csv(rows, guard=False))):
            (folder / name).write_bytes(written.encode())
            found = read_pairs(folder / name)
            assert list(zip(found["text1"], found["text2"], strict=True)) == pairs

    check()


@pytest.mark.scenario("D17")
def test_match_counts_truncated_texts(trained, tmp_path):
    rows = ["text1,text2", "my card,my pin", f"{'card ' * 200},my pin", f"my pin,{'card ' * 200}"]
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    for arguments in ([], ["--output", tmp_path / "o.csv"]):
        done = flipkd("match", "--matcher", trained, tmp_path / "p.csv", *arguments)
        assert done.code == 0
        assert "2 of 3 pairs have a text of more than 16 tokens, which is cut" in done.err
    (tmp_path / "p.csv").write_text("text1,text2\nmy card,my pin\n")
    assert "is cut" not in flipkd("match", "--matcher", trained, tmp_path / "p.csv").err


@pytest.mark.scenario("B3")
def test_match_names_a_row_with_a_nan_score_and_keeps_the_rows_before(trained, unusual_pairs, tmp_path, monkeypatch):
    arguments = ("match", "--matcher", trained, unusual_pairs, "--batch_size", 1, "--output", tmp_path / "o.jsonl")
    assert flipkd(*arguments).code == 0
    complete = (tmp_path / "o.jsonl").read_bytes()
    monkeypatch.setattr(match, "BLOCK", 4)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    score_pairs, read = pair_scorer.score_pairs, []

    def poisoned(student, left, right, **settings):
        found = score_pairs(student, left, right, **settings)
        if "%s %d" in left and not read:
            found.answer[left.index("%s %d")] = np.nan
        return found

    monkeypatch.setattr(pair_scorer, "score_pairs", poisoned)
    done = flipkd(*arguments)
    assert done.code == 6
    assert "1 of 4 scores are not finite, first is pair 2; pair 0 is row 5 of the file" in done.err
    assert (tmp_path / "o.jsonl").read_bytes() == complete
    read.append("mended")
    done = flipkd(*arguments)
    assert (done.code, "continuing after 4 of 13 pairs" in done.err) == (0, True), done.err
    assert (tmp_path / "o.jsonl").read_bytes() == complete


@pytest.mark.scenario("B7")
def test_memory_of_match_does_not_grow_with_the_rows(trained, tmp_path, monkeypatch):
    loaded = Matcher.from_pretrained(trained)
    for name, value in (
        ("flipkd.commands.match.BLOCK", 64),
        ("flipkd.data.readers.BATCH_ROWS", 32),
        ("flipkd.student.prompt.CACHED_TEXTS", 100),
    ):
        monkeypatch.setattr(name, value)
    monkeypatch.setattr(Matcher, "from_pretrained", lambda *_, **__: loaded)
    monkeypatch.setattr(Matcher, "predict", lambda self, pairs, **_: np.zeros(len(pairs), np.float32))
    peaks = []
    for rows in (200, 200, 2000):  # the first run fills the caches
        lines = [f"text of row {row} {'x' * 300},the other text" for row in range(rows)]
        (tmp_path / "p.csv").write_text("\n".join(["text1,text2", *lines]))
        tracemalloc.start()
        match.match(MatchConfig(matcher=trained, pairs=str(tmp_path / "p.csv"), output=str(tmp_path / "o.csv")))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(read_pairs(tmp_path / "o.csv")) == rows
    assert peaks[2] < 1.4 * peaks[1]
