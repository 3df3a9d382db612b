"""Measure first stages and a matcher on the retrieval files of NFCorpus, and fill the table of docs/search_relevance.md.

python benchmarks/retrieval/run.py --data data/nfcorpus_medical/retrieval --encoder teacher --matcher run --queries 100
python benchmarks/retrieval/run.py            write the table of the stored result
python benchmarks/retrieval/run.py --check    exit 1 when the page is not what the result says
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "search_relevance.md"
MARKS = re.compile(r"(<!-- retrieval -->\n).*?(<!-- /retrieval -->)", re.DOTALL)


def measure(arguments: argparse.Namespace, *, count: int | None, matcher: str | None) -> dict[str, Any]:
    """Run flipkd retrieval on the first queries of the official test split, all when `count` is None."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from flipkd import __version__
    from flipkd.command_config import RetrievalConfig
    from flipkd.commands.retrieval import retrieval

    data = Path(arguments.data)
    queries = pq.read_table(data / "queries.parquet")
    queries = queries.filter(pc.equal(queries["split"], "test")).sort_by("query_id")[:count]
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(queries, Path(folder) / "queries.parquet")
        settings = {
            "queries": str(Path(folder) / "queries.parquet"),
            "documents": str(data / "docs.parquet"),
            "qrels": str(data / "qrels.parquet"),
            "encoder": arguments.encoder,
            "matcher": matcher,
            "output": str(Path(folder) / "result.json"),
        }
        retrieval(RetrievalConfig.check(settings))
        result: dict[str, Any] = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
    return {"data": "NFCorpus, all judgements", "flipkd_version": __version__, **result}


def as_text(results: list[dict[str, Any]]) -> str:
    """JSON with the metrics of each query to four digits."""
    for result in results:
        for rows in result["per_query"].values():
            for query, metrics in rows.items():
                rows[query] = {metric: round(value, 4) for metric, value in metrics.items()}
    return "[\n" + ",\n".join(map(json.dumps, results)) + "\n]\n"


def table(results: list[dict[str, Any]]) -> str:
    """The metrics of each system and the differences, as the command prints them."""
    from flipkd.commands.retrieval import retrieval_text

    return "\n\n".join(map(retrieval_text, results)) + "\n"


def main() -> None:
    """Measure where data is given, then write or check the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with queries.parquet, docs.parquet and qrels.parquet")
    parser.add_argument("--encoder", help="folder of flipkd teach")
    parser.add_argument("--matcher", help="folder of flipkd train")
    parser.add_argument("--queries", type=int, default=None, help="first queries that the matcher reads; default: all")
    parser.add_argument("--check", action="store_true", help="only compare the page with the result")
    arguments = parser.parse_args()
    if arguments.data:
        results = [
            measure(arguments, count=None, matcher=None),
            measure(arguments, count=arguments.queries, matcher=arguments.matcher),
        ]
        RESULT.write_text(as_text(results), encoding="utf-8")
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    new = MARKS.sub(lambda found: found[1] + table(result) + found[2], page)
    if arguments.check and new != page:
        raise SystemExit(f"{PAGE.name} is not what the result says; run python benchmarks/retrieval/run.py")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
