"""The teacher of a review: its scores and vectors of the queued pairs, from a teacher folder or a matcher that keeps one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flipkd.errors import ConfigError
from flipkd.review.queue import QueuedPair


class ReviewTeacher:
    """A teacher in a folder of flipkd teach, or the one that a matcher keeps; its model is loaded once.

    Raises ConfigError for a matcher without a teacher, ArtefactError for another folder.
    """

    def __init__(self, folder: str) -> None:
        from flipkd.commands.matcher_teacher import is_matcher, kept_teacher_of
        from flipkd.progress import loading
        from flipkd.teachers.kept_teacher import KeptTeacherModel
        from flipkd.teachers.stored_teacher import StoredTeacher

        loading(folder)
        self.folder = folder
        if is_matcher(folder):
            load = kept_teacher_of(folder)
            if load is None:
                raise ConfigError(
                    f"{folder}: this matcher keeps no teacher; give the folder of flipkd teach as --teacher"
                )
            self.model = load()
        else:
            self.model = KeptTeacherModel(StoredTeacher(folder).model())

    def vectors(self, texts: list[str]) -> np.ndarray:
        """Unit vectors [N, D] of the texts."""
        return self.model.embed(texts)

    def missing_scores(self, pairs: Sequence[QueuedPair]) -> dict[str, float]:
        """Scores, by key, of the pairs that have none."""
        missing = [pair for pair in pairs if pair.teacher_score is None]
        if not missing:
            return {}
        scores = self.model.scores([pair.text1 for pair in missing], [pair.text2 for pair in missing])
        return {pair.key: float(score) for pair, score in zip(missing, scores, strict=True)}


def load_review_teacher(folder: str | None, *, select: str) -> ReviewTeacher | None:
    """Load the teacher that a selection uses; None without a folder. Raises ConfigError for one without vectors for `diverse`."""
    if folder is None or select not in ("disagreement", "diverse"):
        return None
    teacher = ReviewTeacher(folder)
    if select == "diverse" and not teacher.model.has_vectors:
        raise ConfigError(
            f"{folder}: this teacher scores pairs and has no vectors of texts; leave --teacher out, to use TF-IDF vectors"
        )
    return teacher
