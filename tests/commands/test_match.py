"""match as a command: csv and JSON lines out, odd texts as they are, formulas guarded, empty rows named."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tracemalloc
import unicodedata

import numpy as np
import pytest
from command_line import flipkd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flipkd import matcher as matcher_module
from flipkd.commands import match
from flipkd.commands.match import to_csv, to_jsonl
from flipkd.data import read_pairs
from flipkd.matcher import Matcher

ODD = [
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
def odd_pairs(tmp_path):
    with (tmp_path / "odd.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("text1", "text2"), *((text, "my card") for text in ODD)])
    return tmp_path / "odd.csv"


def test_odd_texts_are_plain_text_and_come_back_as_they_were(trained, odd_pairs, tmp_path):
    done = flipkd("match", "--matcher", trained, odd_pairs)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["text1"] for row in rows] == ODD
    assert len({row["score"] for row in rows}) > len(ODD) / 2
    for name in ("o.jsonl", "deep/er/o.csv"):
        told = flipkd("match", "--matcher", trained, odd_pairs, "--output", tmp_path / name)
        matches = sum(row["decision"] == "match" for row in rows)
        assert (told.code, told.out) == (0, f"{tmp_path / name}: {len(ODD)} pairs, {matches} match\n"), told.err
    assert (tmp_path / "o.jsonl").read_text(encoding="utf-8") == done.out
    with (tmp_path / "deep/er/o.csv").open(newline="", encoding="utf-8") as handle:
        written = list(csv.DictReader(handle))
    guarded = {"=1+1", "\tx"}
    assert [row["text1"] for row in written] == ["'" + text if text in guarded else text for text in ODD]
    assert [float(row["score"]) for row in written] == [row["score"] for row in rows]


def test_one_pair_is_the_same_row_as_in_a_file(trained, odd_pairs):
    rows = flipkd("match", "--matcher", trained, odd_pairs, "--batch_size", 1).out.splitlines()
    done = flipkd("match", "--matcher", f"{trained}/matcher", "--text1", ODD[0], "--text2", "my card")
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads(rows[0])


def test_a_label_that_is_none_is_no_concern_of_match(trained, tmp_path):
    (tmp_path / "p.csv").write_text("text1,text2,label,score\npin,my card,graded 3,high\n")
    done = flipkd("match", "--matcher", trained, tmp_path / "p.csv")
    assert done.code == 0, done.err
    assert json.loads(done.out)["text1"] == "pin"


def test_kept_columns_come_first_and_as_they_were(trained, tmp_path):
    (tmp_path / "p.csv").write_text("id,text1,price,text2\n007,my card,=1+1,my pin\n,lost card,2.50,card lost\n")
    words = ("match", "--matcher", trained, tmp_path / "p.csv", "--keep", "price", "--keep", "id")
    rows = [json.loads(line) for line in flipkd(*words).out.splitlines()]
    assert list(rows[0]) == ["price", "id", "text1", "text2", "score", "probability", "decision"]
    assert [(row["id"], row["price"]) for row in rows] == [("007", "=1+1"), ("", "2.50")]
    assert flipkd(*words, "--output", tmp_path / "o.csv").code == 0
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as handle:
        assert [(row["id"], row["price"]) for row in csv.DictReader(handle)] == [("007", "'=1+1"), ("", "2.50")]
    assert flipkd(*words, "--output", tmp_path / "o.csv", "--no-guard").code == 0
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as handle:
        assert [row["price"] for row in csv.DictReader(handle)] == ["=1+1", "2.50"]
    for name, code, said in (("idd", 3, "did you mean 'id'?"), ("text1", 2, "the result has a column of that name")):
        done = flipkd("match", "--matcher", "none", tmp_path / "p.csv", "--keep", name)
        assert (done.code, said in done.err) == (code, True), done.err


@pytest.mark.scenario("D11")
def test_empty_texts_are_named_by_row_before_any_model_is_looked_for(tmp_path):
    rows = ["text1,text2", *["a,b"] * 2, ",b", "a, ", "\u200b,b", *["a,"] * 4]
    (tmp_path / "e.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = flipkd("match", "--matcher", tmp_path / "none", tmp_path / "e.csv")
    assert (done.code, done.out) == (3, "")
    assert "7 rows have an empty text (row 3, 4, 5, 6, 7, ...); fill or remove them" in done.err


@pytest.mark.scenario("B5")
def test_an_output_that_cannot_be_written_is_said_before_the_work(odd_pairs, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for output in (tmp_path / "file" / "o.csv", tmp_path / "folder.csv"):
        done = flipkd("match", "--matcher", tmp_path / "none", odd_pairs, "--output", output)
        assert done.code == 5
        assert done.err.startswith(f"flipkd: {output}: ")


def test_json_lines_hold_one_row_a_line_whatever_the_text():
    rows = [{"text1": "a\u2028b\nc", "text2": "\x00", "score": 0.1}]
    assert to_jsonl(rows).count("\n") == 1
    assert json.loads(to_jsonl(rows)) == rows[0]


@pytest.mark.scenario("X9")
@pytest.mark.parametrize(
    "cell",
    ["-17", "+17", "-1.5", "-1,5", "-1.234.567,89", "-2.5e-3", "+5%", "+49 30 1234567", "+1 (800) 555-0100"]
    + ["+49 (0)30/123-45", "-7-3", "@user", "@some.one", "-xK3f_9", "-", "+", "@", "-abc-def", "+\u0661\u0662", "", "a=1"],
)  # fmt: skip
def test_numbers_and_names_are_no_formulas(cell):
    assert list(csv.reader(io.StringIO(to_csv([{"id": cell}]), newline="")))[1:] == [[cell]]


@pytest.mark.scenario("X9")
@pytest.mark.parametrize(
    "cell",
    ["=1", "=A1", "-1+2", "+A1*2", "-2+3+cmd|' /C calc'!A0", "@SUM(1+9)*cmd|' /C calc'!A0", "+SUM(1)", "-5 deg", "@a b"]
    + ["\t=1", "\r=1", "\n-1", "-1\n=1", "\uff1d1", '=HYPERLINK("http://x")', "-(A1)", "+1e5e5 x", "+49 card"],
)  # fmt: skip
def test_what_a_spreadsheet_might_run_gets_an_apostrophe_unless_told_otherwise(cell):
    for guard, mark in ((True, "'"), (False, "")):
        written = to_csv([{"id": cell}], guard=guard)
        assert list(csv.reader(io.StringIO(written, newline="")))[1:] == [[mark + cell]]


def test_csv_of_no_rows_has_a_header():
    assert list(csv.reader(io.StringIO(to_csv([])))) == [["text1", "text2", "score", "probability", "decision"]]


@pytest.mark.scenario("L14", "B2")
@pytest.mark.parametrize("name", ["o.csv", "o.jsonl"])
def test_a_stopped_match_goes_on_and_scores_nothing_twice(trained, odd_pairs, tmp_path, monkeypatch, name):
    words = ("match", "--matcher", trained, odd_pairs, "--batch_size", 1)
    whole = tmp_path / f"whole-{name}"
    assert flipkd(*words, "--output", whole).code == 0
    monkeypatch.setattr(match, "BLOCK", 4)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    predict, scored = Matcher.predict, []

    def twice(self, pairs, **settings):
        if len(scored) == 8:
            raise KeyboardInterrupt
        scored.extend(pairs)
        return predict(self, pairs, **settings)

    monkeypatch.setattr(Matcher, "predict", twice)
    stopped = flipkd(*words, "--output", tmp_path / name)
    assert (stopped.code, "run the same command to resume" in stopped.err) == (75, True)
    assert not (tmp_path / name).exists()
    monkeypatch.setattr(
        Matcher, "predict", lambda self, pairs, **s: (scored.extend(pairs), predict(self, pairs, **s))[1]
    )
    done = flipkd(*words, "--output", tmp_path / name)
    assert (done.code, "8 of 13 pairs" in done.err) == (0, True), done.err
    assert [left for left, _ in scored] == ODD
    assert (tmp_path / name).read_text(encoding="utf-8") == whole.read_text(encoding="utf-8")
    assert done.out.split(": ")[1] == flipkd(*words, "--output", whole).out.split(": ")[1]


@pytest.mark.scenario("L14")
def test_a_kill_between_score_and_write_costs_one_block_and_changes_no_row(trained, odd_pairs, tmp_path, monkeypatch):
    words = ("match", "--matcher", trained, odd_pairs, "--batch_size", 1)
    whole, output = tmp_path / "whole.csv", tmp_path / "o.csv"
    assert flipkd(*words, "--output", whole).code == 0
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
    codes = [flipkd(*words, "--output", output).code for _ in range(3)]
    assert codes == [75, 75, 0]
    assert len(scored) == len(ODD) + 2 * 4, "each kill cost the block that was not written"
    assert output.read_text(encoding="utf-8") == whole.read_text(encoding="utf-8")


@pytest.mark.scenario("B4")
def test_a_file_that_changes_while_it_is_scored_gives_no_result(trained, odd_pairs, tmp_path, monkeypatch):
    predict = Matcher.predict

    def meddle(self, pairs, **settings):
        with odd_pairs.open("a", encoding="utf-8") as file:
            file.write("one,more\n")
        return predict(self, pairs, **settings)

    monkeypatch.setattr(Matcher, "predict", meddle)
    done = flipkd("match", "--matcher", trained, odd_pairs, "--output", tmp_path / "o.csv")
    assert (done.code, "was changed while it was scored" in done.err) == (3, True)
    assert not (tmp_path / "o.csv").exists()


def test_an_ending_is_read_from_the_name(trained, odd_pairs, tmp_path):
    assert flipkd("match", "--matcher", trained, odd_pairs, "--output", f"{tmp_path}/t.csv/").code == 0
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").startswith("text1,text2,score")


@pytest.mark.scenario("B6", "L14")
def test_blocks_give_the_same_rows_as_one_pass(trained, tmp_path, monkeypatch):
    rows = [json.dumps({"text1": text, "text2": f"card {row}"}) for row, text in enumerate(ODD)]
    (tmp_path / "p.jsonl").write_text("\n".join(rows), encoding="utf-8")
    words = ("match", "--matcher", trained, tmp_path / "p.jsonl", "--batch_size", 1)
    whole = flipkd(*words)
    assert [json.loads(line)["text2"] for line in whole.out.splitlines()] == [f"card {row}" for row in range(len(ODD))]
    monkeypatch.setattr(match, "BLOCK", 2)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 1)
    assert flipkd(*words).out == whole.out


MIXED = [
    "\u05e9\u05dc\u05d5\u05dd my card",  # Hebrew, which runs from right to left
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
def test_texts_of_every_script_come_back_byte_for_byte(trained, tmp_path, name):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"text1": t, "text2": "my card"}) + "\n" for t in MIXED))
    done = flipkd("match", "--matcher", trained, tmp_path / "p.jsonl", "--output", tmp_path / name)
    assert done.code == 0, done.err
    assert read_pairs(tmp_path / name)["text1"][:] == MIXED
    assert unicodedata.normalize("NFC", MIXED[5]) == MIXED[6]


@pytest.mark.scenario("D12")
def test_any_text_is_written_as_it_was_read(tmp_path_factory):
    folder, text = (
        tmp_path_factory.mktemp("any"),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    )

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.tuples(text, text), min_size=1, max_size=4))
    @example([(left, right) for left, right in itertools.pairwise(MIXED)])
    def check(pairs):
        rows = [{"text1": left, "text2": right} for left, right in pairs]
        for name, written in (("o.jsonl", to_jsonl(rows)), ("o.csv", to_csv(rows, guard=False))):
            (folder / name).write_bytes(written.encode())
            found = read_pairs(folder / name)
            assert list(zip(found["text1"], found["text2"], strict=True)) == pairs

    check()


@pytest.mark.scenario("D17")
def test_texts_that_are_cut_are_counted(trained, tmp_path):
    rows = ["text1,text2", "my card,my pin", f"{'card ' * 200},my pin", f"my pin,{'card ' * 200}"]
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    for words in ([], ["--output", tmp_path / "o.csv"]):
        done = flipkd("match", "--matcher", trained, tmp_path / "p.csv", *words)
        assert done.code == 0
        assert "2 of 3 pairs have a text of more than 16 tokens, which is cut" in done.err
    (tmp_path / "p.csv").write_text("text1,text2\nmy card,my pin\n")
    assert "is cut" not in flipkd("match", "--matcher", trained, tmp_path / "p.csv").err


@pytest.mark.scenario("B3")
def test_a_row_whose_score_is_no_number_is_named_and_the_rows_before_it_are_kept(
    trained, odd_pairs, tmp_path, monkeypatch
):
    words = ("match", "--matcher", trained, odd_pairs, "--batch_size", 1, "--output", tmp_path / "o.jsonl")
    assert flipkd(*words).code == 0
    whole = (tmp_path / "o.jsonl").read_bytes()
    monkeypatch.setattr(match, "BLOCK", 4)
    monkeypatch.setattr("flipkd.data.readers.BATCH_ROWS", 2)
    score_pairs, read = matcher_module.score_pairs, []

    def poisoned(student, left, right, **settings):
        found = score_pairs(student, left, right, **settings)
        if "%s %d" in left and not read:
            found.answer[left.index("%s %d")] = np.nan
        return found

    monkeypatch.setattr(matcher_module, "score_pairs", poisoned)
    done = flipkd(*words)
    assert done.code == 6
    assert "1 of 4 scores are not finite, first is pair 2, where pair 0 is row 5 of the file" in done.err
    assert (tmp_path / "o.jsonl").read_bytes() == whole
    read.append("mended")
    done = flipkd(*words)
    assert (done.code, "going on after 4 of 13 pairs" in done.err) == (0, True), done.err
    assert (tmp_path / "o.jsonl").read_bytes() == whole


@pytest.mark.scenario("B7")
def test_memory_does_not_grow_with_the_rows(trained, tmp_path, monkeypatch):
    loaded = Matcher.from_pretrained(trained)
    for name, value in (
        ("flipkd.commands.match.BLOCK", 64),
        ("flipkd.data.readers.BATCH_ROWS", 32),
        ("flipkd.student.prompt.TEXTS_KEPT", 100),
    ):
        monkeypatch.setattr(name, value)
    monkeypatch.setattr(Matcher, "from_pretrained", lambda *_, **__: loaded)
    monkeypatch.setattr(Matcher, "predict", lambda self, pairs, **_: np.zeros(len(pairs), np.float32))
    peaks = []
    for rows in (200, 200, 2000):  # the first fills what is kept anyway
        lines = [f"text of row {row} {'x' * 300},the other text" for row in range(rows)]
        (tmp_path / "p.csv").write_text("\n".join(["text1,text2", *lines]))
        tracemalloc.start()
        match.match(trained, str(tmp_path / "p.csv"), output=str(tmp_path / "o.csv"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(read_pairs(tmp_path / "o.csv")) == rows
    assert peaks[2] < 1.4 * peaks[1]
