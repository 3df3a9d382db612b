"""Reports of candidates and dedupe: counts, recall where it was measured, and the files."""

from __future__ import annotations

from flipkd.commands.entity_reports import candidates_text, clusters_text

FOUND = {
    "records": [1000, 20],
    "possible": 20000,
    "known": None,
    "rules": {"words": {"pairs": 50, "only": 50}, "total": {"pairs": 50, "only": 50}},
}


def test_candidates_have_a_row_for_each_rule():
    text = candidates_text(FOUND)
    assert "| words | 50    | 50                |" in text
    assert text.endswith("1,000 x 20 records: 50 of 20,000 pairs are candidates (0.25 %)")
    assert candidates_text(FOUND | {"possible": 50}).endswith("50 of 50 pairs are candidates (100 %)")
    measured = {rule: counts | {"found": 3, "recall": 0.75} for rule, counts in FOUND["rules"].items()}
    text = candidates_text(FOUND | {"known": 4, "rules": measured})
    assert "| known matches | recall |" in text
    assert text.endswith("; 4 known matches")


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
