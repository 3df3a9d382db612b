"""Commands on logs: results go to stdout, the alarm to stderr after them."""

from command_line import flipkd


def write(path, scores):
    path.write_text("score\n" + "".join(f"{score}\n" for score in scores), encoding="utf-8")
    return path


def test_an_alarm_follows_the_table(tmp_path):
    reference, log = write(tmp_path / "r.csv", range(100)), write(tmp_path / "l.csv", range(60, 160))
    done = flipkd("watch", "--reference", reference, "--log", log)
    assert done.code == 7
    assert "| score      | 49.500    | 109.500 | 0.600" in done.out
    assert done.err.startswith("flipkd: the log differs from the reference: score (all), score_bins (all); look at")


def test_watch_needs_only_scores_and_names_what_is_not_checked(tmp_path):
    reference = write(tmp_path / "r.csv", range(100))
    done = flipkd("watch", "--reference", reference, "--log", reference)
    assert (done.code, done.err) == (0, "")
    assert (
        "not checked, because columns or rows are missing (at least 30): text1_length, text2_length, script"
        in done.out
    )
