"""match: score, probability and decision for every pair of a file, or for one pair."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from flipkd.data import check_pairs, read_pairs
from flipkd.errors import DataError, UsageError
from flipkd.files import write_text
from flipkd.matcher import Matcher

FORMATS = (".csv", ".jsonl")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def match(
    matcher: str,
    pairs_file: str,
    *,
    output: str | None = None,
    columns: dict[str, str] | None = None,
    base_model: str | None = None,
    batch_size: int = 32,
) -> list[dict[str, Any]]:
    """Rows {text1, text2, score, probability, decision} in the order of the file; written to `output` when given.

    Raises DataError for empty texts (naming rows) before any model is loaded, UsageError for another ending of `output`.
    """
    if output and Path(output).suffix not in FORMATS:
        raise UsageError(f"{output}: results are written as {' or '.join(FORMATS)}; give it one of these endings")
    dataset = read_pairs(pairs_file, columns=columns)
    counts = check_pairs(dataset, name=pairs_file).counts
    if counts["empty_texts"]:
        raise DataError(f"{pairs_file}: {counts['empty_texts']} texts are empty; run flipkd check to see where")
    loaded = Matcher.from_pretrained(matcher, base_model=base_model)
    pairs = list(zip(dataset["text1"][:], dataset["text2"][:], strict=True))
    scores = loaded.predict(pairs, batch_size=batch_size, show_progress_bar=True)
    columns_out = zip(pairs, scores, loaded.calibration.apply(scores), loaded.decisions(scores), strict=True)
    rows = [
        {"text1": a, "text2": b, "score": float(s), "probability": float(p), "decision": d}
        for (a, b), s, p, d in columns_out
    ]
    if output:
        write_text(output, to_csv(rows) if output.endswith(".csv") else to_jsonl(rows))
    return rows


def to_jsonl(rows: list[dict[str, Any]]) -> str:
    """One JSON object per line, texts as they are."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_csv(rows: list[dict[str, Any]]) -> str:
    """CSV in which a text that a spreadsheet would run as a formula gets a leading apostrophe; numbers are untouched."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else ["text1", "text2", "score"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        texts = {name: _guarded(row[name]) for name in ("text1", "text2")}
        writer.writerow(row | texts)
    return out.getvalue()


def _guarded(text: str) -> str:
    return "'" + text if text.startswith(FORMULA) else text


def match_one(matcher: str, text1: str, text2: str, *, base_model: str | None = None) -> list[dict[str, Any]]:
    """The row of one pair given as words."""
    loaded = Matcher.from_pretrained(matcher, base_model=base_model)
    score = loaded.predict([(text1, text2)])
    return [
        {
            "text1": text1,
            "text2": text2,
            "score": float(score[0]),
            "probability": float(loaded.calibration.apply(score)[0]),
            "decision": loaded.decisions(score)[0],
        }
    ]
