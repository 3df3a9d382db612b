"""Search relevance: put the results of a keyword search into a better order with a matcher.

    python examples/rerank_search_results.py # a minute or two, after examples/faq_matching.py has trained the matcher

The first search is TF-IDF. The matcher reads its ten best results of each query and ranks them (`Matcher.rank`). MRR is
the mean of 1 / (rank of the right document), 0 where it is not among the ten. The output of a run is at the end of this file.
"""

from __future__ import annotations

from pathlib import Path

from faq_matching import faq_entries
from sklearn.feature_extraction.text import TfidfVectorizer

from flipkd import Matcher
from flipkd.demo.bank import bank_pairs, bank_questions

RESULTS = 10


def keyword_search(queries: list[str], documents: list[str]) -> list[list[int]]:
    """Positions of the documents that share the rarest words with each query, best first."""
    model = TfidfVectorizer().fit(documents)
    similarity = model.transform(queries) @ model.transform(documents).T
    return [(-row).argsort(kind="stable")[:RESULTS].tolist() for row in similarity.toarray()]


def reciprocal_rank(found: list[int], right: int) -> float:
    """1 / rank of `right` in `found`, or 0."""
    return 1 / (found.index(right) + 1) if right in found else 0.0


def main(folder: str = "examples/output", *, count: int = 40) -> None:
    """Print MRR before and after ranking `count` queries that training has not seen, and one query's results."""
    matcher = Matcher.from_pretrained(Path(folder) / "run")
    entries = faq_entries()
    documents = [entry["question"] for entry in entries]
    answers = [entry["answer"] for entry in entries]
    intent_of = {question: intent for intent, question in bank_questions()}
    test = bank_pairs(train=0, validation=0, test=2 * count)["test"]
    queries = [text for text in dict.fromkeys(str(row["text1"]) for row in test) if text not in documents][:count]
    before = keyword_search(queries, documents)
    after = []
    for query, found in zip(queries, before, strict=True):
        ranked = matcher.rank(query, [documents[position] for position in found])
        after.append([found[row["corpus_id"]] for row in ranked])
    right = [answers.index(intent_of[query]) for query in queries]
    for name, results in (("TF-IDF", before), ("ranked by the matcher", after)):
        mean = sum(map(reciprocal_rank, results, right)) / len(queries)
        print(f"{name:22} MRR {mean:.3f}")
    print(f"\n{queries[0]}\n  before: {documents[before[0][0]]}\n  after:  {documents[after[0][0]]}")


if __name__ == "__main__":
    main()

# Output:
#
#     TF-IDF                 MRR 0.319
#     ranked by the matcher  MRR 0.470
#
#     Printing on it has faded so much that I can't make out the digits.
#       before: Does it cost anything to take out cash?
#       after:  The cash machine has kept my card.
