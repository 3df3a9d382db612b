"""Windows of a log: by file, day and number of rows, of one version, with labels that came back."""

import json

import pytest

from flipkd.command_config import WatchConfig
from flipkd.commands.watched_rows import read_reference, read_windows
from flipkd.errors import DataError, UsageError


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    for number, name in enumerate(("b.jsonl", "a.jsonl")):
        rows = [
            {
                "id": f"{name[0]}{k}",
                "score": k + number / 10,
                "version": "v1",
                "alias": f"live{k % 2}",
                "time": f"2026-11-0{1 + number}T23:30:00-01:00" if k else 1_793_500_000,
                "text1": f"text {k // 2}",
            }
            for k in range(40)
        ]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def windows(log, **settings):
    return read_windows(WatchConfig.check({"reference": "r", "log": str(log)} | settings))


def test_windows_of_files_days_and_rows(log):
    assert [(window.name, len(window.rows)) for window in windows(log)] == [("all", 80)]
    assert [(window.name, len(window.rows)) for window in windows(log, window="file")] == [
        ("a.jsonl", 40),
        ("b.jsonl", 40),
    ]
    days = [(window.name, len(window.rows)) for window in windows(log, window="day")]
    assert days == [("2026-11-01", 2), ("2026-11-02", 39), ("2026-11-03", 39)]  # in UTC
    rows = windows(log, window=35)
    assert [(window.name, len(window.rows)) for window in rows] == [("rows 1 to 35", 35), ("rows 36 to 80", 45)]
    assert rows[0].rows.score[0] == 0.1  # file a comes first


def test_one_version_or_alias_is_chosen(log):
    assert [len(window.rows) for window in windows(log, version="live1")] == [40]
    with pytest.raises(UsageError, match="has this version, matcher or alias"):
        windows(log, version="v2")
    with open(log / "a.jsonl", "a", encoding="utf-8") as file:
        file.write('{"id": "x", "score": 1, "version": "v2"}\n')
    with pytest.raises(
        DataError, match=r"several versions: 'v1' \(80 rows\), 'v2' \(1 rows\); choose one with --version"
    ):
        windows(log)


def test_watched_rows_have_labels_joined_by_id(log, tmp_path):
    (tmp_path / "labels.csv").write_text("id,label\na3,1\nb7,0\nunknown,1\n", encoding="utf-8")
    [window] = windows(log, labels=str(tmp_path / "labels.csv"))
    assert sorted(window.rows.score[window.rows.label >= 0].tolist()) == [3.1, 7.0]
    (tmp_path / "labels.csv").write_text("id,label\nunknown,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="none of its 1 ids is in"):
        windows(log, labels=str(tmp_path / "labels.csv"))


def test_one_row_of_each_unit_is_compared(log):
    [window] = windows(log, unit="text1")
    assert len(window.rows) == len(set(window.rows.text1)) == 20
    assert window.rows.score.tolist() == windows(log, unit="text1")[0].rows.score.tolist()


def test_a_row_without_a_unit_is_its_own_unit(log):
    for file in log.iterdir():
        file.write_text(file.read_text().replace('"text1": "text 1"', '"text1": null'), encoding="utf-8")
    assert len(windows(log, unit="text1")[0].rows) == 19 + 4


def test_days_of_a_csv_file_may_be_seconds_since_1970_or_days(tmp_path):
    times = ["1793500000", "1793500000.75", "20261101", "2026-11-02T00:30:00+01:00"]
    (tmp_path / "a.csv").write_text("score,time\n" + "".join(f"1,{time}\n" for time in times), encoding="utf-8")
    [day] = windows(tmp_path / "a.csv", window="day")
    assert (day.name, len(day.rows)) == ("2026-11-01", 4)


def test_days_need_a_time(tmp_path):
    (tmp_path / "a.csv").write_text("score\n1\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 1: has no time; windows of days need a column time"):
        windows(tmp_path / "a.csv", window="day")


def test_a_reference_needs_scores(tmp_path):
    (tmp_path / "a.csv").write_text("score,text1\n,a\n", encoding="utf-8")
    with pytest.raises(DataError, match="no row has a score"):
        read_reference(WatchConfig.check({"reference": str(tmp_path / "a.csv"), "log": "l"}))
