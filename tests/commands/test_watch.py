"""flipkd watch: exit codes, JSON, gauges, the page, and the output of flipkd match as its input."""

import json

import numpy as np
import pytest
from command_line import flipkd
from prometheus_client.parser import text_string_to_metric_families
from watch.drifting import draw

from flipkd.commands.watch import warn_of_least_p
from flipkd.errors import DriftError
from flipkd.watch.drift import LEAST_EFFECTS, Check, judge


def write(path, rows, *, day=None):
    columns = zip(rows.score, rows.probability, rows.label, rows.text1, rows.text2, strict=True)
    with open(path, "a", encoding="utf-8") as file:
        for number, (score, probability, label, text1, text2) in enumerate(columns):
            row = {"id": f"{day}-{number}", "score": score, "probability": probability, "text1": text1, "text2": text2}
            row |= {"time": f"{day}T12:00:00Z"} if day else {}
            file.write(json.dumps(row | ({} if label < 0 else {"label": int(label)})) + "\n")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watch")
    write(folder / "reference.jsonl", draw(0, 400))
    write(folder / "log.jsonl", draw(2, 150, labelled=0.5), day="2026-11-01")
    write(folder / "log.jsonl", draw(3, 150, labelled=0.5, score_shift=1.0, longer=2), day="2026-11-02")
    return folder


def given(folder, *more):
    return "watch", "--reference", folder / "reference.jsonl", "--log", folder / "log.jsonl", *more


def test_an_alarm_is_written_everywhere_and_ends_with_7(files, tmp_path):
    pytest.importorskip("altair")
    outputs = ("--output", tmp_path / "w.json", "--prometheus", tmp_path / "w.prom", "--report", tmp_path / "w.html")
    done = flipkd(*given(files, "--window", "day", *outputs, "--json"))
    assert done.code == DriftError.exit_code == 7
    assert "the log differs from the reference: score (2026-11-02)" in done.err
    found = json.loads(done.out)
    assert json.loads((tmp_path / "w.json").read_text(encoding="utf-8")) == found
    assert [window["name"] for window in found["windows"]] == ["2026-11-01", "2026-11-02"]
    assert {alarm["window"] for alarm in found["alarms"]} == {"2026-11-02"}
    assert {"score", "text1_length"} <= {alarm["check"] for alarm in found["alarms"]}
    families = {f.name: f for f in text_string_to_metric_families((tmp_path / "w.prom").read_text(encoding="utf-8"))}
    alarms = {sample.labels["check"]: sample.value for sample in families["flipkd_watch_alarm"].samples}
    assert alarms["text1_length"] == 1
    assert families["flipkd_watch_alarms"].samples[0].value == len(found["alarms"])
    page = (tmp_path / "w.html").read_text(encoding="utf-8")
    assert page.count('class="chart"') == len(found["windows"][0]["checks"])
    assert "2026-11-02" in page
    assert draw(3, 1, longer=2).text1[0] not in page


@pytest.mark.parametrize("windows, warned", [(10, False), (60, True)])
def test_many_windows_whose_calibration_cannot_be_an_alarm_are_a_warning(caplog, windows, warned):
    # 60 windows with 10 checks each: the least p value, 2 / 100,000, is 0.012 after the correction.
    names = ["calibration", *["score"] * 9]
    checks = [Check(0.0, 0.5, 0.5, 2e-5 if name == "calibration" else 0.5, name=name) for name in names]
    judged = judge([checks] + [[*checks[1:], checks[1]]] * (windows - 1), alpha=0.01, together=True)
    warn_of_least_p([checks] * windows, alpha=0.01, resamples=99_999)
    assert ("calibration and overconfidence" in caplog.text) is warned
    assert judged[0][0].alarm is (windows == 10)


def test_the_last_window_alone_can_be_judged(files, tmp_path):
    lines = (files / "log.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "log.jsonl").write_text("".join(lines[150:] + lines[:150]), encoding="utf-8")
    arguments = ("watch", "--reference", files / "reference.jsonl", "--log", tmp_path / "log.jsonl", "--window", 150)
    done = flipkd(*arguments, "--alarms", "last")
    assert done.code == 0, done.err
    assert "rows 1 to 150: 150 rows, differs: score" in done.out
    assert "rows 151 to 300: 150 rows, compared with 400" in done.out
    assert flipkd(*arguments).code == 7


def test_the_vectors_of_a_teacher_are_compared(trained, taught, pair_files, tmp_path):
    reference, log = tmp_path / "reference.jsonl", tmp_path / "log.csv"
    for output in (reference, log):
        assert (
            flipkd("match", pair_files["train"], "--matcher", trained, "--keep", "label", "--output", output).code == 0
        )
    # Each half of the few texts is too small to compare distances; the agreement with the teacher is that of the same rows.
    done = flipkd("watch", "--reference", reference, "--log", log, "--teacher", taught, "--json")
    assert done.code == 0, done.err
    checks = {check["name"]: check for check in json.loads(done.out)["windows"][0]["checks"]}
    assert checks["disagreement"]["effect"] == checks["score"]["effect"] == 0.0
    assert checks["base_rate"]["window"] == pytest.approx(0.5, abs=0.2)
    assert checks["calibration"]["rows"] == 48
    assert set(checks) <= set(LEAST_EFFECTS)


@pytest.mark.parametrize(
    "more, code, message",
    [
        (["--window", "week"], 2, "window is 'week'"),
        (["--version", "v9"], 2, "no row of"),
        (["--least_effects.scores", "0.1"], 2, "no check is called 'scores'"),
        (["--reference", "none.jsonl"], 3, "no such file"),
    ],
)
def test_watch_refuses_a_call_that_cannot_work(files, more, code, message):
    done = flipkd(*given(files, *more))
    assert done.code == code
    assert message in done.err


def test_watch_finds_no_difference_between_the_same_rows(files):
    reference = files / "reference.jsonl"
    done = flipkd("watch", "--reference", reference, "--log", reference, "--json")
    assert done.code == 0, done.err
    assert np.max([check["effect"] for check in json.loads(done.out)["windows"][0]["checks"]]) == 0
