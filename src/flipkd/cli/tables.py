"""Tables of results for a terminal, fitted to its width by rich. Pipes and files get plain Markdown and JSON lines."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

NUMBER = re.compile(r"[-+]?[\d.,]+( ± [\d.,]+)?( ?%)?|-|nan|")
MIN_COLUMNS = 3  # columns from the left that are always shown
MIN_TEXT = 20  # characters of a line below which a column of texts is no longer readable


def in_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout.isatty()


def print_text(text: str) -> None:
    """Print a text; its Markdown tables are fitted to the width of the terminal."""
    console = Console(highlight=False)
    for is_table, group in groupby(text.splitlines(), key=lambda line: line.startswith("|")):
        lines = list(group)
        if is_table:
            header, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
            print_table(console, header, rows)
        else:
            console.print(Text("\n".join(lines)), soft_wrap=True)


def print_rows(rows: Sequence[dict[str, Any]], shown: Any = str) -> None:
    """Print rows with equal keys as a table; `shown` escapes a text for the terminal.

    Where the texts would get less than MIN_TEXT characters of a line, each row is a block of one line per column.
    """
    if not rows:
        return
    console, header = Console(highlight=False), list(rows[0])
    cells = [[_cell(value, shown) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    needed = [max(len(name), min(width, MIN_TEXT)) for name, width in zip(header, widths, strict=True)]
    if sum(width + 3 for width in needed) + 1 > console.width:
        print_blocks(console, header, cells)
    else:
        print_table(console, header, cells, texts=True)


def print_blocks(console: Console, header: list[str], rows: list[list[str]]) -> None:
    """Print each row as lines of a column's name and its value, with a rule between two rows."""
    table = Table(box=box.ROUNDED, show_header=False, border_style="dim")
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        for name, value in zip(header, row, strict=True):
            table.add_row(Text(name), Text(value))
        table.add_section()
    console.print(table)


def print_table(console: Console, header: list[str], rows: list[list[str]], *, texts: bool = False) -> None:
    """Print a table with numbers aligned right; columns that do not fit are hidden and named below the table.

    Columns with one value in all rows are hidden first; with `texts` no column is hidden and long texts are wrapped.
    """
    columns = list(range(len(header)))
    notes: list[str] = []
    hidden: list[str] = []
    widths = [max(len(row[column]) for row in [header, *rows]) for column in columns]

    def too_wide() -> bool:
        """Tell whether columns of figures must be dropped to fit the terminal."""
        return (
            not texts
            and sum(widths[column] + 3 for column in columns) + 1 > console.width
            and len(columns) > MIN_COLUMNS
        )

    for column in list(columns):
        if too_wide() and len(rows) > 1 and len({row[column] for row in rows}) == 1:
            columns.remove(column)
            notes.append(f"{header[column]}: {rows[0][column]}")
    while too_wide():
        hidden.insert(0, header[columns.pop()])
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim")
    for column in columns:
        figures = all(NUMBER.fullmatch(row[column]) for row in rows)
        table.add_column(
            Text(header[column]), justify="right" if figures else "left", no_wrap=figures, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(row[column]) for column in columns))
    console.print(table)
    if hidden:
        notes.append(f"not shown at this width: {', '.join(hidden)}")
    if notes:
        console.print(Text("; ".join(notes)), style="dim")


def _cell(value: Any, shown: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else shown(str(value))
