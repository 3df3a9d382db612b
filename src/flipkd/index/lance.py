"""LanceIndex: an index of LanceDB, an embedded engine; it takes new entries while other processes search it.

folder/index.json      format, encoder, width, columns and their types; never changes
       entries.lance/  the table; each write adds files and is one version
       manifest.json   sha256 of every file of the table and of index.json, as of the last write
       .lock           held by the one process that writes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from flipkd import __version__
from flipkd.artefacts import library_errors
from flipkd.errors import ArtefactError, UsageError, shorten
from flipkd.extras import require_extra
from flipkd.files import new_folder, read_json, write_json
from flipkd.index.columns import ID, TEXT, VECTOR, check_columns, check_ids, converted, schema, table_of
from flipkd.index.engine import checked_folder, engine_errors, planned_filter
from flipkd.index.hits import Floats, Hit, check_query, check_unit_vectors, cosines_with
from flipkd.index.memory import HEADER

FORMAT, ENGINE, TABLE = 2, "lancedb", "entries"
HINT = "latest_version_hint.json"  # every write changes it, and LanceDB does without it
APPROXIMATE_FROM = 10_000  # entries from which LanceDB's vector index is made; a scan takes 2 ms for each 1,000
SEARCHED_PARTS = 20  # parts of the vector index that a search reads; LanceDB puts about 8,000 entries into each


class LanceIndex:
    """Entries with ids, kept columns and vectors, in a folder of LanceDB; one process writes at a time, many read.

    Every read is of the newest version, in whole: LanceDB looks for a new version before each (read consistency interval 0).
    Searches are exact below APPROXIMATE_FROM entries; from there they read SEARCHED_PARTS of the parts of LanceDB's vector
    index, which below 160,000 entries are about all.

    Examples:
        >>> import numpy as np
        >>> from flipkd import LanceIndex
        >>> entries = [{"id": "pin", "text": "How do I change my PIN?"}, {"id": "lost", "text": "My card is missing"}]
        >>> vectors = np.eye(2, dtype=np.float32)
        >>> index = LanceIndex.create("living-index", entries, vectors, encoder={"name": "yours"}, columns={})
        >>> [hit] = index.hits(vectors[1], top_k=1, where="id in ('lost', 'stolen')")
        >>> hit.key, hit.entry["text"]
        ({'id': 'lost'}, 'My card is missing')
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Open the table; use `open` or `create`."""
        import lancedb

        self.folder = folder
        self.encoder: dict[str, Any] = header["encoder"]
        self.columns: dict[str, str] = header["columns"]
        self.source: dict[str, Any] = header["source"]
        self.width: int = header["width"]
        with engine_errors(folder):
            database = lancedb.connect(folder, read_consistency_interval=timedelta(0))
            self.table = database.open_table(TABLE)
            if self.table.schema != schema(self.columns, self.width):
                raise ArtefactError(
                    f"{folder}: the table does not have the columns of {HEADER}; restore it from a copy"
                )

    @classmethod
    def open(cls, folder: str | Path) -> LanceIndex:
        """Open an index after checking the sha256 of its files.

        Raises ArtefactError when it is damaged or of a newer format, ConfigError when lancedb is not installed.
        """
        folder = Path(folder)
        checked_folder(folder)
        require_extra("index", user=f"{folder}, an index of LanceDB,")
        with library_errors(folder / HEADER, "not the header of an index; restore it from a copy, or build it again"):
            header = read_json(folder / HEADER)
            if header.get("format") != FORMAT:
                raise ArtefactError(
                    f"{folder}: has format {shorten(header.get('format'))}, this flipkd reads format {FORMAT}; update flipkd"
                )
            try:
                check_columns(dict(header["columns"]))
            except UsageError as error:
                raise ArtefactError(f"{folder / HEADER}: {error}") from None
            return cls(folder, {**header, "encoder": dict(header["encoder"]), "source": dict(header["source"])})

    @classmethod
    def create(
        cls,
        folder: str | Path,
        entries: Sequence[Mapping[str, Any]],
        vectors: Floats,
        *,
        encoder: Mapping[str, Any],
        columns: Mapping[str, str],
        source: Mapping[str, Any] | None = None,
    ) -> LanceIndex:
        """Write an index to a new folder: entries with `id`, `text` and any of `columns` (name -> type), unit vectors [n, d].

        `source`: the columns of the files that entries come from. Raises ResourceError when the folder exists, DataError
        for an id that is not unique, UsageError for a column that cannot be kept.
        """
        require_extra("index", user="an index of LanceDB")
        import lancedb

        check_columns(columns)
        check_ids(entries)
        check_unit_vectors(vectors, len(entries))
        rows = table_of([converted(entry, columns) for entry in entries], vectors, columns)
        header = {
            "format": FORMAT,
            "engine": ENGINE,
            "flipkd_version": __version__,
            "encoder": dict(encoder),
            "width": vectors.shape[1],
            "columns": dict(columns),
            "source": dict(source or {}),
        }
        with new_folder(folder) as temporary:
            write_json(temporary / HEADER, header)
            with engine_errors(temporary):
                table = lancedb.connect(temporary).create_table(TABLE, rows)
                make_vector_index(table)
            for hint in temporary.rglob(HINT):
                hint.unlink()
        return cls(Path(folder), header)

    def __len__(self) -> int:
        with engine_errors(self.folder):
            return int(self.table.count_rows())

    @property
    def version(self) -> int:
        """Number of the newest version."""
        with engine_errors(self.folder):
            return int(self.table.version)

    @property
    def scanned(self) -> int:
        """Number of entries that the vector index does not have, which every search compares one by one."""
        with engine_errors(self.folder):
            found = self.table.list_indices()
            return int(found[0].num_unindexed_rows) if found else len(self)

    def hits(self, vector: Floats, *, top_k: int, where: str | None = None) -> list[Hit]:
        """Find the `top_k` entries nearest to a unit vector [d], best first, ties by id; all are of one version.

        Raises ConfigError for a filter that is not one, UsageError and NumbersError as `Index.nearest`.
        """
        check_query(vector, width=self.width, top_k=top_k)
        query = self.table.search(vector, vector_column_name=VECTOR).distance_type("dot")
        found = self._read(
            query.nprobes(SEARCHED_PARTS).limit(top_k), [ID, TEXT, *self.columns, VECTOR, "_distance"], where
        )
        vectors = found[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, self.width)
        cosines = cosines_with(vectors, vector).tolist()
        rows = found.select([TEXT, *self.columns]).to_pylist()
        hits = [Hit({ID: name}, *rest) for name, *rest in zip(found[ID].to_pylist(), cosines, rows, strict=True)]
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.key[ID]))

    def entries(self, *, where: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Return entries with `id`, `text` and the kept columns, the oldest first. Raises ConfigError for a filter."""
        found = self._read(self.table.search().limit(limit), [ID, TEXT, *self.columns], where)
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def first_texts(self, limit: int) -> list[str]:
        """Return the texts of the oldest entries."""
        return [entry[TEXT] for entry in self.entries(limit=limit)]

    def known_vectors(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, Floats]:
        """Return the vectors, by id, of those entries whose id and text the index has already."""
        from lancedb.expr import col

        texts = {entry[ID]: entry[TEXT] for entry in entries}
        if not texts:
            return {}
        with engine_errors(self.folder):
            search = self.table.search().where(col(ID).isin(list(texts))).limit(None)
            found = search.select([ID, TEXT, VECTOR]).to_arrow().to_pylist()
        return {row[ID]: np.array(row[VECTOR], np.float32) for row in found if row[TEXT] == texts[row[ID]]}

    def _read(self, query: Any, columns: list[str], where: str | None) -> Any:
        """Run a query; once again after an error, since another process may have deleted the files of an old version."""
        query = query.select(columns)
        if where is not None:
            query = query.where(planned_filter(self.table, where, [ID, TEXT, *self.columns]))
        for last in (False, True):
            try:
                with engine_errors(self.folder):
                    return query.to_arrow()
            except ArtefactError:
                if last:
                    raise
        return None


def make_vector_index(table: Any) -> bool:
    """Make LanceDB's vector index of a table that is large enough and has none; True when there is one now."""
    from lancedb.index import IvfFlat

    if table.list_indices():
        return True
    if table.count_rows() < APPROXIMATE_FROM:
        return False
    table.create_index(VECTOR, config=IvfFlat(distance_type="dot"))
    return True
