"""Labelling one pair at a time: a pair is leased to an annotator, so that others get another one meanwhile."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from flipkd.review.database import database_errors
from flipkd.review.queue import COUNT_LABELS, ReviewQueue, Vote

LEASE = 300.0  # seconds
PAGE = "page"  # source of the votes that the page sends
# The pairs that others have voted on come first, so that pairs are finished; `labelled` counts votes without skips.
NEXT = """
SELECT id FROM pairs WHERE labelled < :votes
    AND NOT EXISTS (SELECT 1 FROM votes WHERE pair = pairs.id AND annotator = :annotator)
    AND labelled + (SELECT count(*) FROM leases WHERE pair = pairs.id AND annotator != :annotator) < :votes
ORDER BY labelled DESC, shuffle LIMIT 1
"""


class Annotation:
    """One annotator after another, on the pairs of a queue; a pair is done with `votes` labels of different annotators."""

    def __init__(self, queue: ReviewQueue, *, votes: int = 1, lease: float = LEASE) -> None:
        self.queue, self.votes, self.lease = queue, votes, lease

    def next_pair(self, annotator: str) -> dict[str, Any] | None:
        """Return {key, text1, text2} of the pair to label, now leased to this annotator; None when no pair is left."""
        with self.queue.writing() as connection:
            now = time.time()
            connection.execute("DELETE FROM leases WHERE until <= ?", (now,))
            known = {"annotator": annotator, "votes": self.votes}
            found = connection.execute("SELECT pair FROM leases WHERE annotator = :annotator", known).fetchone()
            found = found or connection.execute(NEXT, known).fetchone()
            return None if found is None else self._leased(connection, annotator, found[0], now)

    def _leased(self, connection: sqlite3.Connection, annotator: str, pair: int, now: float) -> dict[str, Any]:
        connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (annotator, pair, now + self.lease))
        row = connection.execute("SELECT key, text1, text2 FROM pairs WHERE id = ?", (pair,)).fetchone()
        return dict(row)

    def vote(self, annotator: str, key: str, label: int | None) -> bool:
        """Store the label of a pair (None: skipped) and end its lease; False for a key that the queue does not have."""
        counts = self.queue.add_votes([Vote(key, annotator, label)], source=PAGE)
        with self.queue.writing() as connection:
            connection.execute("DELETE FROM leases WHERE annotator = ?", (annotator,))
        return not counts["unknown"]

    def undo(self, annotator: str) -> dict[str, Any] | None:
        """Delete the last label that this annotator gave on the page, and return its pair, leased again; None: there is none."""
        with self.queue.writing() as connection:
            found = connection.execute(
                "SELECT number, pair FROM votes WHERE annotator = ? AND source = ? ORDER BY number DESC LIMIT 1",
                (annotator, PAGE),
            ).fetchone()
            if found is None:
                return None
            connection.execute("DELETE FROM votes WHERE number = ?", (found["number"],))
            connection.execute(COUNT_LABELS, (found["pair"],))
            return self._leased(connection, annotator, found["pair"], time.time())

    def progress(self, annotator: str) -> dict[str, int]:
        """Count the pairs, those that have all their labels, and the votes of this annotator."""
        with database_errors(self.queue.path):
            row = self.queue.connection.execute(
                "SELECT (SELECT count(*) FROM pairs) AS pairs, (SELECT count(*) FROM pairs WHERE labelled >= ?) AS done, "
                "(SELECT count(*) FROM votes WHERE annotator = ?) AS own",
                (self.votes, annotator),
            ).fetchone()
        return dict(row)
