"""Matcher: a finished folder that scores pairs, decides, ranks documents and encodes texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd.artefacts import library_errors
from flipkd.device import best_device, checked_device
from flipkd.errors import NumbersError, UsageError
from flipkd.files import MANIFEST, sha256
from flipkd.inputs import check_count, check_text, checked_texts
from flipkd.pair_scorer import PairScorer
from flipkd.ranking import by_falling_score, search_results
from flipkd.student.contract import CONTRACT, ScoreContract, find_matcher
from flipkd.student.golden import check_golden
from flipkd.student.loading import load_student
from flipkd.student.model import Student
from flipkd.student.scoring import Floats, encode_texts
from flipkd.teachers.kept_teacher import KeptTeacherModel, load_kept_teacher

if TYPE_CHECKING:
    from flipkd.index import SearchIndex

RANK_ROWS = 64  # documents per forward pass on a CPU; the pass computes their query once


class Matcher(PairScorer):
    """A trained student under its score contract; threads may share one. Load one with `from_pretrained`.

    `pairs` of its methods is any iterable of (text1, text2): a list, `zip(left, right)`, an array [N, 2].

    Examples:
        >>> from flipkd import Matcher
        >>> matcher = Matcher.from_pretrained("run")
        >>> pairs = [("I lost my card", "My card is missing"), ("I lost my card", "How do I change my PIN?")]
        >>> decisions = matcher.decide(pairs)
        >>> len(decisions)
        2
    """

    def __init__(
        self,
        student: Student,
        contract: ScoreContract,
        *,
        fingerprint: str | None = None,
        teacher: KeptTeacherModel | None = None,
        exact: bool = False,
        cascade: bool = False,
        folder: Path | None = None,
    ) -> None:
        """Wrap a loaded student; `fingerprint` is the sha256 of the manifest of its `folder`, which an index compares."""
        super().__init__(student, contract, teacher=teacher, exact=exact, cascade=cascade)
        self.fingerprint, self.folder = fingerprint, folder

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        base_model: str | None = None,
        device: str | None = None,
        merge: bool = False,
        exact: bool = False,
        cascade: bool = False,
    ) -> Matcher:
        """Load a matcher folder, the run folder that holds one, or a matcher of the hub by its id OWNER/NAME.

        `revision`: branch, tag or commit of the hub; `token`: True, or a token of the hub, instead of HF_TOKEN or the login.
        `base_model`: location of the base model, if it was moved after training; `merge` adds LoRA to the weights. `device`:
        cpu, cuda or cuda:1; default: a GPU where there is one.
        `exact` scores one pair per forward pass, whatever the batch size, which is slower: a score then has the same bits
        beside any other pairs, on one machine with the same number of threads. Batches of other sizes round differently.
        With `cascade` the kept teacher decides the pairs of which it is confident, in every method without `cascade=False`.
        Raises ArtefactError when the folder is damaged or the base model is not the one it was trained on, ConfigError for a
        cascade of a matcher without a band, and for a device that is not there.

        Examples:
            >>> Matcher.from_pretrained("run", device="cpu", merge=True).contract.reading
            'joint'
        """
        used_device = best_device() if device is None else checked_device(device)
        path = find_matcher(name_or_path, revision=revision, token=token)
        student, contract = load_student(path, base_model=base_model, merge=merge)
        student = student.to(used_device)
        check_golden(student, contract, path)
        kept = contract.teacher
        teacher = None if kept is None else load_kept_teacher(path, kept.model_dump(), device=used_device)
        with library_errors(path / CONTRACT, "its calibration cannot be read"):
            digest = sha256(path / MANIFEST)
            return cls(
                student,
                contract,
                fingerprint=digest,
                teacher=teacher,
                exact=exact,
                cascade=cascade,
                folder=path,
            )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str | None = None,
        base_model: str | None = None,
        language: Sequence[str] = (),
        license: str | None = None,
        datasets: Sequence[str] = (),
    ) -> str:
        """Upload the folder of this matcher to a repository OWNER/NAME of the hub; return the address of the commit.

        `base_model`: hub id of the base model, where it was read from a folder. `language` (ISO codes), `license` and
        `datasets` (hub ids) are for the card. Raises UsageError for a matcher without a folder, and the errors of
        `publishing.push_matcher`.

        Examples:
            >>> matcher.push_to_hub("org/bank-matcher", private=True, language=["en"])  # doctest: +SKIP
            'https://huggingface.co/org/bank-matcher/commit/3f1c0e9'
        """
        from flipkd.cards.published import CardFacts
        from flipkd.publishing import push_matcher

        if self.folder is None:
            raise UsageError("this matcher was not loaded from a folder; only a saved matcher can be uploaded")
        return push_matcher(
            self.folder,
            repo_id,
            revision=revision,
            private=private,
            token=token,
            commit_message=commit_message,
            base_model=base_model,
            facts=CardFacts(language, license, datasets),
        )

    def encode(
        self, texts: Sequence[str], *, batch_size: int | None = None, show_progress_bar: bool = False
    ) -> Floats:
        """Encode each text alone as a unit vector [n, D]; compare vectors only after separate or blocked reading.

        In joint reading a right text is trained after its left text: its stand-alone vector is out of distribution.

        Examples:
            >>> vectors = matcher.encode(["I lost my card", "My card is missing"])
            >>> vectors.shape[0], round(float(vectors[0] @ vectors[0]), 2)
            (2, 1.0)
        """
        texts = checked_texts(texts)
        label = "texts" if show_progress_bar else None
        with self._lock:
            vectors = encode_texts(self.student, texts, batch_size=self._rows_per_pass(batch_size), progress=label)
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(wrong):
            raise NumbersError(f"{len(wrong)} of {len(vectors)} vectors are not finite, first is text {wrong[0]}")
        return vectors

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int | None = None,
        cascade: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Rank documents by falling score: [{"corpus_id", "score", "text" with return_documents}], ties in the order given.

        `cascade`: as in `predict`. Raises UsageError for a top_k below 1.

        Examples:
            >>> ranking = matcher.rank("I lost my card", ["My card is missing", "How do I change my PIN?"])
            >>> sorted(row["corpus_id"] for row in ranking)
            [0, 1]
        """
        if top_k is not None:
            check_count("top_k", top_k, otherwise=", or None for all documents")
        check_text(query, "the query")
        documents = checked_texts(documents, "document")
        scores = self._query_scores(query, documents, batch_size=batch_size, cascade=cascade).tolist()
        ranked: list[dict[str, Any]] = []
        for position in by_falling_score(scores)[:top_k]:
            row: dict[str, Any] = {"corpus_id": position, "score": scores[position]}
            ranked.append(row | ({"text": documents[position]} if return_documents else {}))
        return ranked

    def _query_scores(
        self, query: str, documents: list[str], *, batch_size: int | None = None, cascade: bool | None = None
    ) -> Floats:
        if batch_size is None and self.student.device.type == "cpu":
            batch_size = RANK_ROWS
        return self.predict([(query, document) for document in documents], batch_size=batch_size, cascade=cascade)

    def search(
        self,
        query: str,
        index: SearchIndex,
        *,
        vector: Floats | None = None,
        top_k: int = 5,
        candidates: int = 20,
        where: str | None = None,
        cascade: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Score the index's `candidates` nearest entries with the query, and return the `top_k` best by falling score.

        [{"corpus_id", "similarity", "score", "probability", "decision"} and the entry's own fields]; an index of LanceDB has
        `id` for `corpus_id`, and filters as `where`. `vector` [d]: the query encoded by the model that made the index; None
        for an index that this matcher made, or the teacher that it keeps. `cascade`: as in `predict`.
        Raises UsageError for a top_k or candidates below 1, a vector of another width, and a missing vector.

        Examples:
            >>> import numpy as np
            >>> vector = np.array([0.6, 0.8], np.float32)  # of the query, by the encoder of the index
            >>> [hit] = matcher.search("I lost my card", index, vector=vector, top_k=1, candidates=1)
            >>> hit["text"], round(hit["similarity"], 2)
            ('My card is missing', 0.8)
        """
        check_count("top_k", top_k)
        check_count("candidates", candidates)
        check_text(query, "the query")
        found = self._query_vector(query, index) if vector is None else np.asarray(vector, np.float32)
        hits = index.hits(found, top_k=max(candidates, top_k), where=where)
        texts = checked_texts([hit.entry["text"] for hit in hits], "document")
        judgements = self.judge(self._query_scores(query, texts, cascade=cascade))
        return search_results(hits, [row._asdict() for row in judgements], top_k=top_k)

    def _query_vector(self, query: str, index: SearchIndex) -> Floats:
        """Encode the query by the model of the index: this matcher, or the teacher that it keeps."""
        maker, kept = index.encoder.get("fingerprint"), self.teacher
        if self.fingerprint is not None and maker == self.fingerprint:
            vectors = self.encode([query])
        elif kept is not None and maker == kept.fingerprint:
            vectors = kept.embed([query])
        else:
            raise UsageError(
                f"another model made this index ({index.encoder.get('kind')} {index.encoder.get('folder')}); encode the "
                "query with that model and pass it as vector="
            )
        return np.asarray(vectors[0], np.float32)
