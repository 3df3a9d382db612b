"""Index: texts to search in, a unit vector of each, and the identity of the model that made the vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flipkd import __version__
from flipkd.errors import ArtefactError, DataError, NumbersError, UsageError
from flipkd.files import check_manifest, new_folder, read_json, write_json, write_text

Floats = NDArray[np.float32]
FORMAT = 1
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
        if vectors.ndim != 2 or len(vectors) != len(entries):
            raise DataError(
                f"{len(entries)} entries need {len(entries)} vectors; got an array of shape {list(vectors.shape)}"
            )
        wrong = np.flatnonzero(
            ~np.isclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        )  # NaN is not close to 1 either
        if len(wrong):
            raise NumbersError(
                f"the vector of entry {wrong[0]} is not of unit length; {len(wrong)} of {len(vectors)} are not"
            )
        self.entries, self.vectors, self.encoder = list(entries), vectors, encoder

    def __len__(self) -> int:
        return len(self.entries)

    def nearest(self, vector: Floats, *, top_k: int) -> list[tuple[int, float]]:
        """Find (position, cosine) of the `top_k` entries nearest to a unit vector [d], best first, ties by position.

        Raises UsageError for a top_k below 1 or a vector of another width, NumbersError for one that is not finite.

        Examples:
            >>> [(position, cosine)] = index.nearest(np.array([0.6, 0.8], np.float32), top_k=1)
            >>> index.entries[position]["text"], round(cosine, 2)
            ('My card is missing', 0.8)
        """
        if top_k < 1:
            raise UsageError(f"top_k is {top_k}; it must be at least 1")
        if vector.shape != self.vectors.shape[1:]:
            raise UsageError(
                f"got a vector of shape {list(vector.shape)}; the index has vectors of width {self.vectors.shape[1]}"
            )
        if not np.isfinite(vector).all():
            raise NumbersError("the vector of the query is not finite")
        cosines = self.vectors @ vector
        candidates = np.arange(len(cosines))
        if top_k < len(cosines):
            last = np.partition(cosines, -top_k)[-top_k]
            candidates = np.flatnonzero(cosines >= last)  # including all ties with the last
        order = candidates[np.argsort(-cosines[candidates], kind="stable")][:top_k]
        return [(int(position), float(cosines[position])) for position in order]

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
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        if folder.is_dir() and not (folder / HEADER).exists():
            raise ArtefactError(f"{folder}: has no {HEADER}; make an index with flipkd index")
        check_manifest(folder)
        try:
            header = read_json(folder / HEADER)
            if header["format"] != FORMAT:
                raise ArtefactError(
                    f"{folder}: has format {header['format']}, this flipkd reads format {FORMAT}; update flipkd"
                )
            with open(folder / ENTRIES, encoding="utf-8", newline="\n") as lines:
                entries = [json.loads(line) for line in lines]
            return cls(entries, load_file(folder / VECTORS)["vectors"], encoder=header["encoder"])
        except (KeyError, TypeError, ValueError, SafetensorError, NumbersError) as error:
            if isinstance(error, ArtefactError):
                raise
            raise ArtefactError(
                f"{folder}: not an index of flipkd ({error}); make it again with flipkd index"
            ) from None
