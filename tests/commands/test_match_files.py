"""flipkd match --output_dir: each row once and in order, also after kills; rows that cannot be scored."""

from __future__ import annotations

import json
import random

import pytest
from command_line import flipkd
from faults import each_kill
from scored_files import LengthScorer, inputs, results, write_rows

from flipkd.command_config import MatchConfig
from flipkd.commands import match_files as module
from flipkd.commands.match_files import match_files
from flipkd.errors import ArtefactError, DataError, NumbersError, UsageError
from flipkd.files import check_manifest, write_manifest


@pytest.fixture
def stub(monkeypatch, tiny_matcher):
    """Settings of a match of a tiny matcher whose scores are those of LengthScorer."""
    monkeypatch.setattr(module, "Scorer", LengthScorer)
    return {"matcher": str(tiny_matcher()), "rows_per_part": 3, "keep": ["id"]}


def test_match_files_equals_match_of_each_file(trained, tmp_path):
    files = inputs(tmp_path, sizes=(7, 4))
    with open(files[1], "a") as handle:
        handle.write(f"{'my card ' * 30},a card text,4\n")  # more than the 16 tokens that this matcher reads
    done = flipkd("match", "--matcher", trained, *files, "--output_dir", tmp_path / "out", "--rows_per_part", 4)
    assert done.code == 0, done.err
    rows = results(tmp_path / "out")
    assert [(row["file"], row["row"]) for row in rows] == [
        (f, k + 1) for f, n in zip(files, (7, 5), strict=True) for k in range(n)
    ]
    single = []
    for k, file in enumerate(files):
        flipkd("match", "--matcher", trained, file, "--output", tmp_path / f"{k}.jsonl")
        single += [json.loads(line) for line in (tmp_path / f"{k}.jsonl").read_text().splitlines()]
    for row, expected in zip(rows, single, strict=True):
        assert row["score"] == pytest.approx(expected["score"], abs=1e-5)
        assert {k: row[k] for k in ("text1", "text2", "decision")} == {
            k: expected[k] for k in ("text1", "text2", "decision")
        }
    matches = sum(row["decision"] == "match" for row in rows)
    assert done.out.startswith(f"{tmp_path / 'out'}: 12 pairs, {matches} match")
    assert "1 of 12 pairs have a text of more than 16 tokens, which is cut" in done.err
    check_manifest(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.scenario("B2")
def test_match_files_has_each_row_once_after_kills(stub, tmp_path):
    files = inputs(tmp_path, sizes=(3, 1))
    count = iter(range(10**6))

    def config(folder):
        return MatchConfig.check(stub | {"pairs": files, "output_dir": str(folder), "rows_per_part": 2})

    expected = tmp_path / "whole"
    match_files(config(expected))
    for place in each_kill(lambda: tmp_path / f"out{next(count)}", lambda folder: match_files(config(folder)), step=5):
        match_files(config(place))
        assert results(place) == results(expected)
        check_manifest(place)
        assert sorted(path.name for path in place.glob("*")) == sorted(path.name for path in expected.glob("*"))


def test_match_files_resumes_at_the_first_missing_part(stub, tmp_path, monkeypatch, caplog):
    files, scored = inputs(tmp_path), []
    config = MatchConfig.check(stub | {"pairs": files, "output_dir": str(tmp_path / "out")})
    original = module.score_part

    def counted(scorer, name, file, folder):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(name)
        original(scorer, name, file, folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "score_part", counted)
        match_files(config)
    monkeypatch.setattr(module, "score_part", lambda s, name, *rest: scored.append(name) or original(s, name, *rest))
    summary = match_files(config)
    assert scored == sorted(set(scored))
    assert summary["rows"] == 12
    assert "continuing after 2 of 5 parts" in caplog.text
    assert match_files(config) == summary
    assert "is complete" in caplog.text
    with open(files[0], "a") as handle:
        handle.write("another card,a card text,99\n")
    with pytest.raises(DataError, match="has changed since"):
        match_files(config)


@pytest.mark.scenario("B3")
def test_match_files_rejects_rows_that_cannot_be_scored(stub, tmp_path):
    rows = [(f"text {k}", "a card", k) for k in range(20)]
    rows[4], rows[6], rows[13] = ("", "a card", 4), ("POISON", "a card", 6), ("x", " \u200b", 13)
    file = write_rows(tmp_path / "a.csv", rows)
    summary = match_files(MatchConfig.check(stub | {"pairs": file, "output_dir": str(tmp_path / "out")}))
    assert summary["rejected"] == 3
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text("utf-8").splitlines()]
    assert [(row["row"], row["reason"]) for row in rejected] == [
        (5, "empty text"),
        (7, "the score of a pair is nan"),
        (14, "empty text"),
    ]
    assert [row["row"] for row in results(tmp_path / "out")] == [k for k in range(1, 21) if k not in (5, 7, 14)]
    assert [row["id"] for row in results(tmp_path / "out")][:2] == ["0", "1"]


def test_match_files_keeps_a_rejected_row_with_a_line_separator_of_unicode(stub, tmp_path):
    rows = [(f"text {k}", "a card", k) for k in range(4)]
    rows[1], rows[2] = ("", "a\u2028card\x85 \u2029", 1), ("POISON", "a\u2028card", 2)
    file = write_rows(tmp_path / "a.csv", rows)
    summary = match_files(MatchConfig.check(stub | {"pairs": file, "output_dir": str(tmp_path / "out")}))
    assert (summary["rows"], summary["rejected"]) == (4, 2)
    with open(tmp_path / "out" / "rejected.jsonl", encoding="utf-8") as lines:
        assert [json.loads(line)["text2"] for line in lines] == [rows[1][1], rows[2][1]]


def test_match_files_stops_when_the_model_fails_on_a_part(stub, tmp_path):
    file = write_rows(tmp_path / "a.csv", [(f"POISON {k}", "a card", k) for k in range(6)])
    with pytest.raises(NumbersError, match="fails on all 3 rows"):
        match_files(MatchConfig.check(stub | {"pairs": file, "output_dir": str(tmp_path / "out")}))


def test_match_files_refuses_files_without_a_row_to_score(stub, tmp_path):
    file = write_rows(tmp_path / "a.csv", [("", "a card", k) for k in range(3)])
    with pytest.raises(DataError, match="none of the 3 rows"):
        match_files(MatchConfig.check(stub | {"pairs": file, "output_dir": str(tmp_path / "out")}))


@pytest.mark.scenario("B4")
def test_match_files_refuses_changed_input(stub, tmp_path, monkeypatch):
    files = inputs(tmp_path)
    config = MatchConfig.check(stub | {"pairs": files, "output_dir": str(tmp_path / "out")})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "score_part", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        match_files(config)
    with open(files[0], "a") as handle:
        handle.write("one more,pair,9\n")
    with pytest.raises(DataError, match=r"a\.csv: has changed"):
        match_files(config)
    with pytest.raises(ArtefactError, match="other settings"):
        match_files(MatchConfig.check(stub | {"pairs": files[1:], "output_dir": str(tmp_path / "out")}))


def test_match_files_detects_damaged_results(stub, tmp_path, monkeypatch):
    """A changed byte of a finished part stops the command, which then scores that part again."""
    files, folder = inputs(tmp_path), tmp_path / "out"
    config = MatchConfig.check(stub | {"pairs": files, "output_dir": str(folder)})
    original = module._finish

    def damage(*given):
        path = sorted(folder.glob("part-*"))[1]
        content = bytearray(path.read_bytes())
        content[random.Random(0).randrange(len(content))] ^= 1
        path.write_bytes(content)
        return original(*given)

    with (
        monkeypatch.context() as patch,
        pytest.raises(ArtefactError, match="was changed or damaged; delete") as stopped,
    ):
        patch.setattr(module, "_finish", damage)
        match_files(config)
    (folder / ".pairs" / str(stopped.value).split(".pairs/")[1].split(" ")[0]).unlink()
    assert match_files(config)["rows"] == len(results(folder)) == 12


@pytest.mark.parametrize("name", ["00000.json", "00000.rejected.jsonl", "00000-000000000001.done.json"])
def test_match_files_names_a_record_that_is_not_its_own(stub, tmp_path, monkeypatch, name):
    files, folder = inputs(tmp_path), tmp_path / "out"
    config = MatchConfig.check(stub | {"pairs": files, "output_dir": str(folder)})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        match_files(config)
    for content in ("[]", "{}", "1", '{"parts": [{}]}', '{"sha256": 1, "decisions": {"match": "x"}}', "{"):
        (folder / ".pairs" / name).write_text(content)
        with pytest.raises(ArtefactError, match=rf"{name.split('.')[0]}.*|rejected rows of .* are damaged"):
            match_files(config)


def test_match_files_refuses_a_summary_that_is_none(stub, tmp_path):
    config = MatchConfig.check(stub | {"pairs": inputs(tmp_path), "output_dir": str(tmp_path / "out")})
    match_files(config)
    (tmp_path / "out/summary.json").write_text("[1]")
    with pytest.raises(ArtefactError, match="sha256 mismatch"):
        match_files(config)
    write_manifest(tmp_path / "out")
    with pytest.raises(ArtefactError, match="not a summary of flipkd; delete"):
        match_files(config)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"pairs": []}, UsageError, "needs files"),
        ({"pairs": ["a.csv"], "keep": ["row"]}, UsageError, "--keep row"),
        ({"pairs": ["a.csv"], "output": "o.csv"}, UsageError, "not both"),
        ({"pairs": ["a.csv"], "workers": 2}, UsageError, "--workers is for --engine ray"),
    ],
)
def test_match_files_refuses_wrong_settings(stub, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        match_files(MatchConfig.check(stub | {"output_dir": str(tmp_path / "out")} | changes))


def test_match_refuses_several_files_without_a_folder(trained, tmp_path):
    done = flipkd("match", "--matcher", trained, *inputs(tmp_path))
    assert (done.code, "--output_dir" in done.err) == (2, True)
