"""Index: texts to search in, a unit vector of each, and the identity of the model; all in memory, never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd import __version__
from flipkd.artefacts import library_errors
from flipkd.errors import ArtefactError, ConfigError, DataError, NumbersError, shorten
from flipkd.files import check_manifest, new_folder, read_json, write_json, write_text
from flipkd.index.hits import Floats, Hit, check_query, check_unit_vectors, cosines_with

FORMAT = 1
ROUNDING = 1e-5  # of a product of two unit vectors in float32, at most
HEADER, ENTRIES, VECTORS = "index.json", "entries.jsonl", "vectors.safetensors"


class Index:
    """n entries, each a text with further fields, and their vectors [n, d]; the nearest-neighbour search is exact.

    Examples:
        >>> import numpy as np
        >>> from flipkd import Index
        >>> entries = [{"text": "How do I change my PIN?"}, {"text": "My card is missing"}]
        >>> index = Index(entries, np.eye(2, dtype=np.float32), encoder={"name": "an encoder of yours"})
        >>> len(index)
        2
    """

    def __init__(self, entries: Sequence[dict[str, Any]], vectors: Floats, *, encoder: dict[str, Any]) -> None:
        """Check the vectors. `entries` have their text under `text`; `encoder` describes the model of the vectors in JSON values.

        Raises DataError when the numbers of vectors and entries differ, NumbersError for a vector that is not of unit length.
        """
        check_unit_vectors(vectors, len(entries))
        self.entries, self.vectors, self.encoder = list(entries), vectors, encoder

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def width(self) -> int:
        """Number of elements of a vector.

        Examples:
            >>> index.width
            2
        """
        return int(self.vectors.shape[1])

    def nearest(self, vector: Floats, *, top_k: int) -> list[tuple[int, float]]:
        """Find (position, cosine) of the `top_k` entries nearest to a unit vector [d], best first, ties by position.

        Raises UsageError for a top_k below 1 or a vector of another width, NumbersError for one that is not finite.

        Examples:
            >>> [(position, cosine)] = index.nearest(np.array([0.6, 0.8], np.float32), top_k=1)
            >>> index.entries[position]["text"], round(cosine, 2)
            ('My card is missing', 0.8)
        """
        check_query(vector, width=self.width, top_k=top_k)
        rough = self.vectors @ vector
        candidates = np.arange(len(rough))
        if top_k < len(rough):
            last = np.partition(rough, -top_k)[-top_k]
            candidates = np.flatnonzero(rough >= last - ROUNDING)  # including all ties with the last
        cosines = cosines_with(self.vectors[candidates], vector)
        best = np.argsort(-cosines, kind="stable")[:top_k]
        return [(int(candidates[place]), float(cosines[place])) for place in best]

    def first_texts(self, limit: int) -> list[str]:
        """Return the texts of the first entries.

        Examples:
            >>> index.first_texts(1)
            ['How do I change my PIN?']
        """
        return [entry["text"] for entry in self.entries[:limit]]

    def hits(self, vector: Floats, *, top_k: int, where: str | None = None) -> list[Hit]:
        """Find the hits of `nearest`, with the position of each as `corpus_id`. Raises ConfigError for a filter.

        Examples:
            >>> [hit] = index.hits(np.array([0.6, 0.8], np.float32), top_k=1)
            >>> hit.key, hit.entry["text"]
            ({'corpus_id': 1}, 'My card is missing')
        """
        if where is not None:
            raise ConfigError("this index is in memory and has no filters; build it with --engine lancedb for --where")
        found = self.nearest(vector, top_k=top_k) if len(self) else []
        return [Hit({"corpus_id": position}, cosine, self.entries[position]) for position, cosine in found]

    def save(self, folder: str | Path, *, replace: bool = False) -> None:
        """Write the index to a new folder. Raises ResourceError when the folder exists and `replace` is false.

        Examples:
            >>> index.save("saved-index")
        """
        from safetensors.numpy import save_file

        header = {"format": FORMAT, "flipkd_version": __version__, "entries": len(self), "encoder": self.encoder}
        with new_folder(folder, replace=replace) as temporary:
            write_json(temporary / HEADER, header)
            write_text(temporary / ENTRIES, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in self.entries))
            save_file({"vectors": np.ascontiguousarray(self.vectors)}, temporary / VECTORS)

    @classmethod
    def load(cls, folder: str | Path) -> Index:
        """Load an index that `save` wrote. Raises ArtefactError when it is damaged or of a newer format.

        Examples:
            >>> len(Index.load("faq-index"))
            2
        """
        from safetensors.numpy import load_file

        folder = Path(folder)
        if folder.is_dir() and not (folder / HEADER).exists():
            raise ArtefactError(f"{folder}: has no {HEADER}; make an index with flipkd index")
        check_manifest(folder)
        with library_errors(folder, "not an index of flipkd; make it again with flipkd index"):
            header = read_json(folder / HEADER)
            if header.get("engine") == "lancedb":
                raise ArtefactError(f"{folder}: is an index of LanceDB; open it with flipkd.open_index")
            if header["format"] != FORMAT:
                raise ArtefactError(
                    f"{folder}: has format {shorten(header['format'])}, this flipkd reads format {FORMAT}; update flipkd"
                )
            with open(folder / ENTRIES, encoding="utf-8", newline="\n") as lines:
                entries = [json.loads(line) for line in lines]
            if not all(isinstance(entry["text"], str) for entry in entries):
                raise ArtefactError(f"{folder}: an entry has no text; make it again with flipkd index")
            vectors, encoder = load_file(folder / VECTORS)["vectors"], dict(header["encoder"])
        try:
            return cls(entries, vectors, encoder=encoder)
        except (DataError, NumbersError) as error:
            raise ArtefactError(f"{folder}: damaged ({error}); make it again with flipkd index") from None
