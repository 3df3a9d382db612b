"""Reports of flipkd candidates and flipkd dedupe as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipkd.commands.results import text_table
from flipkd.figures import figure


def candidates_text(found: Mapping[str, Any]) -> str:
    """Return a table of the rules, with the recall of known matches where it was measured, and the share of all pairs."""
    measured = found["known"] is not None
    header = ["rule", "pairs", "by this rule only", *(["known matches", "recall"] if measured else [])]
    rows = [
        [rule, f"{counts['pairs']:,}", f"{counts['only']:,}"]
        + ([f"{counts['found']:,}", f"{counts['recall']:.4f}"] if measured else [])
        for rule, counts in found["rules"].items()
    ]
    records, total = " x ".join(f"{count:,}" for count in found["records"]), found["rules"]["total"]["pairs"]
    share = 100 * total / max(found["possible"], 1)
    text = f"{records} records: {total:,} of {found['possible']:,} pairs are candidates ({figure(share, 2)} %)"
    known = f"; {found['known']:,} known matches" if measured else ""
    return f"{text_table(header, rows)}\n{text}{known}"


def clusters_text(found: Mapping[str, Any]) -> str:
    """Return a table of the counts of flipkd dedupe, and the files that it wrote."""
    largest = found["largest"]
    rows = [
        ["records", " + ".join(f"{count:,}" for count in found["records"])],
        ["candidates", f"{found['candidates']:,}"],
        *([["recall of known matches among them", f"{found['recall']:.4f}"]] if "recall" in found else []),
        ["matches", f"{found['matches']:,}"],
        *([["pairs for review", f"{found['review']:,}"]] if found["review"] else []),
        ["entities", f"{found['entities']:,}"],
        ["clusters of two or more records", f"{found['clusters']:,}"],
        ["records in them", f"{found['clustered']:,}"],
        *([["clusters with records of both files", f"{found['linked']:,}"]] if "linked" in found else []),
        ["largest cluster", f"{largest['records']:,} records (cluster {largest['cluster']})"],
        ["held together by one weak match", f"{found['weak']:,}"],
    ]
    files = "\n".join(found["files"])
    return f"{text_table(['result', 'count'], rows)}\n{files}"
