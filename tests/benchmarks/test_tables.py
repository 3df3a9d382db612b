"""The figures in README and docs are those of the result files."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality" / "tables.py"
spec = importlib.util.spec_from_file_location("tables", SCRIPT)
tables = importlib.util.module_from_spec(spec)
sys.path.insert(0, str(SCRIPT.parent))  # of the scripts beside it
spec.loader.exec_module(tables)
sys.path.remove(str(SCRIPT.parent))


def test_check_finds_nothing_to_change_in_the_pages(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    tables.main()


def test_check_ends_with_an_error_on_a_page_with_a_changed_figure(tmp_path, monkeypatch):
    page = (tables.ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    changed = page.replace("| 0.", "| 1.", 1)
    assert changed != page
    (tmp_path / "results.md").write_text(changed, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    monkeypatch.setattr(tables, "PAGES", [str(tmp_path / "results.md")])
    with pytest.raises(SystemExit, match=r"results\.md"):
        tables.main()
    monkeypatch.setattr(sys, "argv", ["tables.py"])
    tables.main()
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == page


def result(data, name, seed=0):
    metrics = {"test": {"f1": 0.5 + seed / 10, "average_precision": 0.25}}
    return {"data": data, "name": name, "system": name, "seed": seed, "metrics": metrics, "overrides": {}}


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]


def test_the_main_table_has_a_row_for_each_system_with_results(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DIFFERENCES", tmp_path)
    blend = "plain+teacher_finetuned"
    results = [result("mrpc", "flipped"), result("mrpc", "flipped", 1), result("mqp_medical", blend)]
    rows = cells(tables.main_table(results))
    assert rows[0] == ["F1 / AP on test", *tables.MAIN_SETS]
    assert [row[0] for row in rows[1:4]] == [blend, "flipped", "seeds of flipped"]
    assert rows[1][1:] == ["-", "0.500 / 0.250", "-", "-", "-"]
    assert (rows[2][5], rows[3][5]) == ("0.550 / 0.250", "2")


def scored(data, name, seed, **precision):
    found = {kind: {"test": {"average_precision": value}} for kind, value in precision.items()}
    return result(data, name, seed) | {"by_score": found}


def test_tables_compare_scores_over_the_seeds_that_all_systems_have():
    results = []
    for seed, gain in ((0, 0.0), (1, 0.2)):
        results += [
            scored("mrpc", "plain", seed, answer=0.5 + gain),
            scored("mrpc", "flipped", seed, answer=0.6, cosine=0.4, combined=0.7),
            scored("mrpc", "flipped+teacher_finetuned", seed, combined=0.8),
            scored("mrpc", "teacher_finetuned", seed, score=0.3),
            scored("mrpc", "plain+teacher_finetuned", seed, combined=0.75),
        ]
    results.append(scored("mrpc", "plain", 2, answer=0.0))
    rows = cells(tables.scores_table(results))
    assert rows[1] == ["mrpc", "2", "0.600", "0.600", "0.400", "0.700", "0.300", "0.800", "0.750"]
    assert rows[2][2:] == rows[1][2:], "the mean over one set"


def test_tables_compare_the_pool_over_the_seeds_that_all_systems_have():
    results = [result("banking77_faq", name, seed) for name in tables.POOL for seed in (0, 1)]
    results.append(result("banking77_faq", "pool_300", 2))
    rows = cells(tables.pool_table(results))
    assert rows[0][1:] == ["banking77_faq, seeds: 2", "atec_finance, seeds: 0"]
    assert [row[1:] for row in rows[1:]] == [["0.550 / 0.250", "-"]] * len(tables.POOL)


def test_differences_are_corrected_for_the_sets_of_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DIFFERENCES", tmp_path)
    for data, p_value in (("mrpc", 2 / 501), ("mqp_medical", 0.03)):
        difference = {"difference": 0.021, "low": 0.01, "high": 0.04, "p_value": p_value, "resamples": 500}
        rows = [{"name": name, "f1": difference, "average_precision": difference} for name in ("tfidf", "flipped")]
        (tmp_path / f"{data}.json").write_text(json.dumps({"differences": {"plain+teacher_finetuned": rows}}))
    rows = cells(tables.main_table([result("mrpc", "flipped")]))[-2:]
    assert [row[0] for row in rows] == ["plain+teacher_finetuned, F1", "plain+teacher_finetuned, AP"]
    assert rows[0][2] == "+2.1 [+1.0, +4.0], p = 0.030, Holm 0.030"
    assert rows[0][5] == "+2.1 [+1.0, +4.0], p ≤ 0.004, Holm ≤ 0.008"
    assert rows[0][1] == "-"


@pytest.mark.parametrize("name, place", [("tfidf", 1), ("flipped", -2), ("plain+tfidf", -1)])
def test_tables_have_blends_after_the_systems(name, place):
    names = ["plain+tfidf", "flipped", "untrained", "always_match", "tfidf"]
    assert sorted((result("d", one) for one in names), key=tables._place)[place]["name"] == name


def test_variants_table_has_the_controls():
    rows = cells(
        tables.variants_table([result("banking77_faq", name) for name in ("flipped", "shuffled_teacher", "plain")])
    )
    assert [row[0] for row in rows[1:]] == ["shuffled_teacher", "flipped"]


def headline(tmp_path, monkeypatch, intervals):
    """Cells and lines of the README's table for flipped minus plain with these (low, high) intervals, one per set."""
    monkeypatch.setattr(tables, "DIFFERENCES", tmp_path)
    results = []
    for data, (low, high) in zip(tables.MAIN_SETS, intervals, strict=True):
        difference = {"difference": (low + high) / 2, "low": low, "high": high, "p_value": 0.5, "resamples": 500}
        rows = {"plain": [{"name": "flipped", "average_precision": difference}]}
        (tmp_path / f"{data}.json").write_text(json.dumps({"differences": rows}))
        results += [result(data, "plain"), result(data, "flipped")]
    text = tables.headline_table(results)
    return cells(text), [line for line in text.splitlines() if line.startswith("- ")]


def test_the_headline_has_the_columns_that_were_measured(tmp_path, monkeypatch):
    rows, _ = headline(tmp_path, monkeypatch, [(0.01, 0.03)] * 5)
    assert rows[0] == ["AP on test", "LLM", "flipkd", "flipkd minus LLM"]
    assert rows[1] == [tables.MAIN_SETS[0], "0.250", "0.250", "+2.0 [+1.0, +3.0]"]


def test_the_headline_counts_intervals_above_below_and_around_zero(tmp_path, monkeypatch):
    _, lines = headline(tmp_path, monkeypatch, [(0.01, 0.03), (0.01, 0.02), (-0.03, -0.01), (-0.01, 0.01), (0.0, 0.1)])
    assert lines[0] == "- flipkd minus encoder: not measured on these sets yet."
    assert lines[1].endswith("the interval is above 0 on 2 of 5 sets, below 0 on 1, and contains 0 on 2.")


def test_the_speed_table_has_the_range_of_the_turns():
    rows = cells(tables.speed_table())
    assert len(rows) == 1 + len(tables.SPEED)
    for _, median, turns, _ in rows[1:]:
        low, high = map(float, turns.split(" to "))
        assert low <= float(median) <= high


def test_recipes_table_sorts_by_the_gain_over_flipped_of_the_same_seeds():
    def result(name, seed, **scores):
        by_score = {kind: {"test": {"average_precision": value}} for kind, value in scores.items()}
        return {"data": "mqp_300", "name": name, "seed": seed, "by_score": by_score, "command": "flipkd compare"}

    found = [
        result("flipped", 0, answer=0.7, cosine=0.6, combined=0.8, with_teacher=0.85),
        result("flipped", 1, answer=0.7, cosine=0.6, combined=0.7, with_teacher=0.85),
        result("rkd", 1, answer=0.5, cosine=0.9, combined=0.72, with_teacher=0.86),
        result("plain", 0, answer=0.6),
        result("teacher_finetuned", 0, score=0.65),
    ]
    lines = tables.recipes_table(found, "objectives").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["rkd", "flipped", "teacher_finetuned", "plain"]
    assert rows[1][2:] == ["2", "0.700", "0.600", "0.750", "0.850", "-"]
    assert rows[0][2:] == ["1", "0.500", "0.900", "0.720", "0.860", "+2.0"], "against flipped of the same seed"
    assert rows[2][2:] == ["1", "-", "-", "-", "0.650", "-"]
    assert rows[3][2:] == ["1", "0.600", "-", "-", "-", "-"]
