"""Write docs/field.md from field.yaml: `python docs/field_page.py`."""

from __future__ import annotations

from pathlib import Path

import yaml

PAGE = Path(__file__).with_name("field.md")
TABLE = Path(__file__).with_name("field.yaml")
Row = dict[str, str | list[str]]
HEAD = """# The field: what other systems teach, and where it is here

Made by `python docs/field_page.py` from `field.yaml`; do not edit. The rows are the {total} systems of a list of 119 related
papers that score texts (the others are surveys, or systems for robots, images and graphs), by their number in that list.
{built} are built, as a loss, an option or a command; the rest have a reason. `tests/test_field.py` holds options, commands and
tests against the code. What is built is the idea, in the form that fits pairs of texts: it is no reproduction of the paper,
and no figure of a paper is a figure of flipkd.

Most ideas can be compared on your own pairs as variants of one run:

```sh
flipkd compare --train_file data/train.csv --validation_file data/validation.csv --test_file data/test.csv \\
  --variants '{{router: ["other_teachers=[cross]", "teacher_weights=router"], order: ["objectives.ranknet_distill=1"]}}' \\
  --systems plain,flipped,router,order --seeds 0,1,2 --output_dir comparison-field
```

## Built

| | system | idea | what is built | options and commands | test | figure |
| --- | --- | --- | --- | --- | --- | --- |
"""
REST = """
## Not built

| | system | idea | because |
| --- | --- | --- | --- |
"""


def systems() -> dict[int, Row]:
    """Number -> row of the table."""
    rows: dict[int, Row] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return rows


def page(rows: dict[int, Row]) -> str:
    """The whole page: a table of what is built and one of what is not."""
    built = {number: row for number, row in rows.items() if "built" in row}
    text = HEAD.format(total=len(rows), built=len(built))
    text += "".join(_built(number, row) for number, row in built.items()) + REST
    rest = {number: row for number, row in rows.items() if "built" not in row}
    return text + "".join(
        f"| {number} | {row['name']} | {row['idea']} | {row['reason']} |\n" for number, row in rest.items()
    )


def _built(number: int, row: Row) -> str:
    use = "<br>".join(f"`{one}`" for one in row["use"])
    cells = [row["name"], row["idea"], row["built"], use, f"`{row['test']}`", row.get("figure", "not measured")]
    return f"| {number} | {' | '.join(map(str, cells))} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(systems()), encoding="utf-8")
