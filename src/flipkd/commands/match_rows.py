"""Result rows of flipkd match, and their text as CSV or JSON lines."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from flipkd import progress
from flipkd.command_config import MatchConfig
from flipkd.commands.memory import MEMORY, Memory
from flipkd.commands.results import csv_text
from flipkd.errors import UsageError
from flipkd.evaluate.decisions import Judgement
from flipkd.figures import figure

logger = logging.getLogger(__name__)

RESULT = {"score": float, "probability": float, "decision": str}  # columns that `make_row` fills, with their types
COLUMNS = ("text1", "text2", *RESULT)
SCORED_BY, TEACHER, STUDENT = "scored_by", "teacher", "student"  # further column of a cascade, and its values
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four: full-width = + - @
# Exceptions that are not formulas: numbers, telephone numbers, and single words such as -xK3f and @user.
NO_FORMULA = re.compile(r"[-+][\d\s.,()/-]+([eE][-+]?\d+)?%?|[-+@][\w.-]*")


def make_row(pair: tuple[str, str], judgement: Judgement) -> dict[str, Any]:
    """Return the result row of one pair: its texts and the columns of RESULT."""
    return {"text1": pair[0], "text2": pair[1], **judgement._asdict()}


def require_free(keep: Sequence[str], columns: Sequence[str]) -> None:
    """Raise UsageError when a column to keep has the name of one of the result's own columns."""
    if taken := sorted({*keep} & {*columns}):
        raise UsageError(f"--keep {taken[0]}: the result has a column of that name; rename the column in the file")


class Scorer:
    """A loaded matcher that makes result rows, and counts pairs, cut texts and seconds.

    Raises ConfigError when a cascade is requested and the matcher has none.
    """

    def __init__(self, config: MatchConfig) -> None:
        progress.loading(config.matcher)
        from flipkd.matcher import Matcher  # imports torch, so only after the pairs were checked

        self.matcher = Matcher.from_pretrained(config.matcher, base_model=config.base_model, exact=config.exact)
        self.cascade, self.batch_size = config.cascade, config.batch_size
        self.pairs, self.by_teacher, self.cut, self.seconds = 0, 0, 0, 0.0
        if self.cascade:
            self.matcher.require_cascade()
        directed = self.matcher.contract.directed
        self.memory = None if config.memory is None else Memory(config.memory, directed=directed)

    def rows(self, pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
        """Make a row for each pair, in their order; pairs of the memory are not scored by a model."""
        if self.memory is None:
            return self._scored(pairs)
        labels = self.memory.labels(pairs).tolist()
        new = iter(self._scored([pair for pair, label in zip(pairs, labels, strict=True) if label < 0]))
        known = iter(self.matcher.judge(self.memory.scores([label for label in labels if label >= 0], self.matcher)))
        rows = []
        for pair, label in zip(pairs, labels, strict=True):
            row = next(new) if label < 0 else make_row(pair, next(known))
            rows.append(row | {SCORED_BY: row.get(SCORED_BY, STUDENT) if label < 0 else MEMORY})
        return rows

    def _scored(self, pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
        if not pairs:
            return []
        start, matcher = time.perf_counter(), self.matcher
        if self.cascade:
            scores, by_llm = matcher.cascade(pairs, batch_size=self.batch_size)
        else:
            scores = matcher.predict(pairs, batch_size=self.batch_size)
            sides = [matcher.student.prompt.text_ids(side) for side in zip(*pairs, strict=True)]
            self.cut += sum(left[1] or right[1] for left, right in zip(*sides, strict=True))
        rows = [make_row(*row) for row in zip(pairs, matcher.judge(scores), strict=True)]
        if self.cascade:
            self.by_teacher += len(pairs) - int(by_llm.sum())
            for row, is_by_llm in zip(rows, by_llm, strict=True):
                row[SCORED_BY] = STUDENT if is_by_llm else TEACHER
        self.pairs, self.seconds = self.pairs + len(pairs), self.seconds + time.perf_counter() - start
        return rows

    def log_summary(self) -> None:
        """Log how many pairs were cut, and for a cascade the teacher's share and the speed; of the pairs scored here."""
        if self.cut:
            limit = self.matcher.student.prompt.max_text_length
            logger.warning(
                "%d of %d pairs have a text of more than %d tokens, which is cut", self.cut, self.pairs, limit
            )
        if self.cascade and self.pairs:
            logger.warning(
                "cascade: the teacher alone decided %.1f %% of %d pairs; %s pairs a second",
                100 * self.by_teacher / self.pairs,
                self.pairs,
                figure(self.pairs / self.seconds, 3),
            )


def to_jsonl(rows: list[dict[str, Any]]) -> str:
    """Format rows as one JSON object per line; texts are not escaped to ASCII."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_csv(rows: list[dict[str, Any]], *, header: bool = True, guard: bool = True) -> str:
    """Format rows as CSV; with `guard` a text that a spreadsheet would run as a formula gets a leading apostrophe."""
    names = list(rows[0]) if rows else COLUMNS
    cells = ([_guard_cell(row[name]) if guard else row[name] for name in names] for row in rows)
    return csv_text(names if header else None, cells)


def runs_as_formula(text: str) -> bool:
    """True when a spreadsheet may run this cell of a CSV file; numbers, telephone numbers and @names are not run."""
    return text.startswith(FORMULA) and not NO_FORMULA.fullmatch(text)


def _guard_cell(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and runs_as_formula(cell) else cell
