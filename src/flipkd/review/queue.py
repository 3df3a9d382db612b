"""ReviewQueue: the pairs of a review queue and the labels that people give them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from flipkd.review.database import connect, database_errors, transaction
from flipkd.review.sampling import Choice, shuffle_number

ADD = """
INSERT INTO pairs (key, shuffle, text1, text2, score, probability, decision, teacher_score, matcher, reason, sampled, seen,
                   first_seen, last_seen)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    score = excluded.score, probability = excluded.probability, decision = excluded.decision, matcher = excluded.matcher,
    teacher_score = coalesce(excluded.teacher_score, teacher_score),
    reason = CASE WHEN excluded.sampled > sampled THEN excluded.reason ELSE reason END,
    sampled = max(sampled, excluded.sampled), seen = seen + 1, last_seen = excluded.last_seen
"""
VOTE = """
INSERT INTO votes (pair, annotator, label, source, time) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (pair, annotator) DO UPDATE SET label = excluded.label, source = excluded.source, time = excluded.time
    WHERE label IS NOT excluded.label
"""
COUNT_LABELS = """
UPDATE pairs SET labelled = (SELECT count(*) FROM votes WHERE votes.pair = pairs.id AND label IS NOT NULL) WHERE id = ?
"""


@dataclass(frozen=True)
class QueuedPair:
    """A pair of the queue; `votes` has the label of each annotator: 1 match, 0 no match, None skipped."""

    key: str
    text1: str
    text2: str
    score: float
    probability: float
    decision: str
    teacher_score: float | None
    matcher: str
    reason: str
    sampled: float
    seen: int
    first_seen: str
    last_seen: str
    votes: dict[str, int | None]

    @property
    def weight(self) -> float:
        """Number of scored pairs that this one represents: how often it was seen, divided by the share that is sampled."""
        return self.seen / self.sampled

    @property
    def labels(self) -> list[int]:
        """Labels of the annotators who did not skip it."""
        return [label for label in self.votes.values() if label is not None]


@dataclass(frozen=True)
class Vote:
    """The label that an annotator gave the pair of a key."""

    key: str
    annotator: str
    label: int | None


class ReviewQueue:
    """The queue in an SQLite file. Several processes may use it at the same time; a commit is on the disk.

    Raises ArtefactError and ResourceError as `database.connect` does.
    """

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(path)
        self.connection = connect(self.path, create=create)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Context manager of one write, committed as a unit. Raises ResourceError."""
        with database_errors(self.path), transaction(self.connection):
            yield self.connection

    def add(self, choices: Sequence[Choice], *, matcher: str, batch: str | None = None) -> bool:
        """Add pairs, or count those that the queue has; returns False, and adds nothing, for a `batch` that was added before.

        `matcher`: version of the matcher that scored them; `batch`: a name of these pairs, so that a resumed command counts none
        twice. Returns after the pairs are on the disk.
        """
        now = _now()
        with self.writing() as connection:
            if batch is not None:
                cursor = connection.execute("INSERT OR IGNORE INTO batches VALUES (?)", (batch,))
                if not cursor.rowcount:
                    return False
            connection.executemany(ADD, (_row(choice, matcher, now) for choice in choices))
        return True

    def pairs(self) -> list[QueuedPair]:
        """All pairs, in a random order that does not change."""
        names = list(QueuedPair.__dataclass_fields__)[:-1]
        votes: dict[int, dict[str, int | None]] = {}
        with database_errors(self.path):
            found = self.connection.execute("SELECT pair, annotator, label FROM votes ORDER BY number")
            for pair, annotator, label in found:
                votes.setdefault(pair, {})[annotator] = label
            rows = self.connection.execute(f"SELECT id, {', '.join(names)} FROM pairs ORDER BY shuffle").fetchall()
        return [
            QueuedPair(**{name: row[name] for name in names} | {"votes": votes.get(row["id"], {})}) for row in rows
        ]

    def add_votes(self, votes: Iterable[Vote], *, source: str) -> dict[str, int]:
        """Add labels, or replace those of the same annotator; returns the numbers of new, changed, equal and unknown ones.

        An unknown one names a pair that the queue does not have, and is left out.
        """
        counts, now = dict.fromkeys(("new", "changed", "equal", "unknown"), 0), _now()
        with self.writing() as connection:
            for vote in votes:
                counts[_write_vote(connection, vote, source=source, now=now)] += 1
        return counts

    def set_teacher_scores(self, scores: dict[str, float]) -> None:
        """Store the teacher's scores of pairs, by key."""
        with self.writing() as connection:
            connection.executemany(
                "UPDATE pairs SET teacher_score = ? WHERE key = ?", ((score, key) for key, score in scores.items())
            )


def _row(choice: Choice, matcher: str, now: str) -> tuple[Any, ...]:
    pair = choice.pair
    result = (pair.text1, pair.text2, pair.score, pair.probability, pair.decision, pair.teacher_score)
    return (choice.key, shuffle_number(choice.key), *result, matcher, choice.reason, choice.sampled, now, now)


def _write_vote(connection: sqlite3.Connection, vote: Vote, *, source: str, now: str) -> str:
    """Write one vote and return the name of its count, as in `add_votes`."""
    found = connection.execute("SELECT id FROM pairs WHERE key = ?", (vote.key,)).fetchone()
    if found is None:
        return "unknown"
    [pair] = found
    known = connection.execute(
        "SELECT 1 FROM votes WHERE pair = ? AND annotator = ?", (pair, vote.annotator)
    ).fetchone()
    written = connection.execute(VOTE, (pair, vote.annotator, vote.label, source, now)).rowcount
    connection.execute(COUNT_LABELS, (pair,))
    if known is None:
        return "new"
    return "changed" if written else "equal"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
