"""Deduplicate a list of products: from a CSV file to one cluster for each product.

    python examples/dedupe_products.py       # a few minutes on 2 CPU cores; the models come with the extra [demo]

`products.csv` has 137 offers of 60 products, written for this example. A third of the products is the list to deduplicate;
of the others the true product is known. Their candidates, found by the encoder, become labelled pairs: so the matcher trains
on the pairs that it will meet, most of which are of two similar products. Then `dedupe` finds candidates in the new list,
scores them and joins the matches. A second call reuses the finished folders. The output of a run is at the end of this file.
"""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path
from typing import Any

from faq_matching import write_rows

import flipkd
from flipkd.command_config import CandidatesConfig, DedupeConfig
from flipkd.commands.candidates import candidates
from flipkd.commands.dedupe import dedupe
from flipkd.config import TeachConfig, TrainConfig

PRODUCTS = Path(__file__).with_name("products.csv")
# Products 1, 4, 7, ... train, 2, 5, 8, ... validate, the others are the new list.
PARTS = ("train", "validation", "new")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a csv file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labelled_candidates(offers: str, output: Path, *, encoder: str) -> str:
    """Write the candidates among offers of known products, labelled 1 where both are the same product; returns the path."""
    found = output.with_name(f"{output.stem}_candidates.csv")
    candidates(
        CandidatesConfig(left=offers, output=str(found), encoder=encoder, text=["title"], top_k=5, keep=["product"])
    )
    rows = [
        {"text1": row["text1"], "text2": row["text2"], "label": int(row["product1"] == row["product2"])}
        for row in read_rows(found)
    ]
    return write_rows(output, rows)


def train_matcher(folder: Path, files: dict[str, str], *, encoder: str, llm: str, settings: dict[str, Any]) -> str:
    """Fine-tune the encoder, train the LLM with it, and return the folder of the matcher, which keeps the encoder."""
    teacher = str(folder / "teacher")
    flipkd.teach(TeachConfig.check(files | {"teacher_name_or_path": encoder, "output_dir": teacher}))
    student = {"model_name_or_path": llm, "teacher": teacher, "output_dir": str(folder / "run")}
    student |= {"keep_teacher": True, "swap_texts": True}
    return str(flipkd.train(TrainConfig.check(files | student | settings)))


def pairs_within(numbers: list[str]) -> set[tuple[int, int]]:
    """The pairs of rows with the same number."""
    return {(i, j) for (i, a), (j, b) in combinations(enumerate(numbers), 2) if a == b}


def main(
    folder: str = "examples/output/products",
    *,
    encoder: str = "all-MiniLM-L6-v2",
    llm: str = "gemma-3-270m",
    settings: dict[str, Any] | None = None,
) -> None:
    """Train a matcher on known products in `folder`, deduplicate the new list, and print its clusters."""
    place, offers = Path(folder), read_rows(PRODUCTS)
    parts = {
        name: write_rows(
            place / f"{name}_offers.csv", [row for row in offers if int(row["product"]) % 3 == (part + 1) % 3]
        )
        for part, name in enumerate(PARTS)
    }
    files = {
        f"{name}_file": labelled_candidates(parts[name], place / f"{name}.csv", encoder=encoder)
        for name in ("train", "validation")
    }
    matcher = train_matcher(place, files, encoder=encoder, llm=llm, settings=settings or {})
    output = place / "dedupe"
    found = dedupe(DedupeConfig(left=parts["new"], matcher=matcher, text=["title"], top_k=5, output_dir=str(output)))
    rows = read_rows(output / "clusters.csv")
    true, joined = (pairs_within([row[name] for row in rows]) for name in ("product", "cluster"))
    print(f"{len(rows)} offers of {len({row['product'] for row in rows})} products, {found['candidates']} candidates")
    print(
        f"{found['entities']} entities; {len(true & joined)} of {len(true)} pairs of the same product are joined, and"
    )
    print(f"{len(joined - true)} pairs of two products; {found['weak']} weak matches alone hold a cluster together")
    for number in list(dict.fromkeys(row["cluster"] for row in rows))[:5]:
        print("\n".join(f"  {number:>3}  {row['title']}" for row in rows if row["cluster"] == number))


if __name__ == "__main__":
    main()

# Output:
#
#     46 offers of 20 products, 141 candidates
#     20 entities; 32 of 32 pairs of the same product are joined, and
#     0 pairs of two products; 0 weak matches alone hold a cluster together
#         1  Nordlys A3 desk lamp, LED, black
#         1  Lamp Nordlys A3 black, LED, for desks
#         3  Tavo electric kettle 1.0 l, steel
#         3  Tavo kettle 1 litre stainless steel
#         5  Tavo hand mixer M300, 300 W
#         5  M300 hand mixer 300 watts, Tavo
#         7  Kestrel trail running shoes, men, size 44
#         7  Kestrel men's trail running shoe, EU 44
#         9  Kestrel rain jacket, blue, L
#         9  Kestrel blue rain jacket (large)
