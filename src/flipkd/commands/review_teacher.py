"""The teacher of a review: its scores and vectors of the queued pairs, from a teacher folder or a matcher that keeps one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flipkd.errors import ConfigError
from flipkd.review.queue import QueuedPair
from flipkd.text import normal_text

if TYPE_CHECKING:
    from flipkd.teachers.kept_teacher import KeptTeacherModel


def load_review_teacher(folder: str | None, *, select: str) -> KeptTeacherModel | None:
    """Load the teacher that a selection uses, from a folder of flipkd teach or a matcher that keeps one; None without a folder.

    Raises ConfigError for a matcher without a teacher and for a teacher without vectors for `diverse`, ArtefactError for
    another folder.
    """
    if folder is None or select not in ("disagreement", "diverse"):
        return None
    from flipkd.commands.matcher_teacher import is_matcher, kept_teacher_of
    from flipkd.progress import loading
    from flipkd.teachers.kept_teacher import KeptTeacherModel
    from flipkd.teachers.stored_teacher import StoredTeacher

    loading(folder)
    if not is_matcher(folder):
        model = KeptTeacherModel(StoredTeacher(folder).model())
    elif (load := kept_teacher_of(folder)) is not None:
        model = load()
    else:
        raise ConfigError(f"{folder}: this matcher keeps no teacher; give the folder of flipkd teach as --teacher")
    if select == "diverse" and not model.has_vectors:
        raise ConfigError(
            f"{folder}: this teacher scores pairs and has no vectors of texts; leave --teacher out, to use TF-IDF vectors"
        )
    return model


def missing_scores(teacher: KeptTeacherModel, pairs: Sequence[QueuedPair]) -> dict[str, float]:
    """Compute the scores, by key, of the pairs that have none."""
    missing = [pair for pair in pairs if pair.teacher_score is None]
    if not missing:
        return {}
    left, right = ([normal_text(getattr(pair, side)) for pair in missing] for side in ("text1", "text2"))
    scores = teacher.scores(left, right)
    return {pair.key: float(score) for pair, score in zip(missing, scores, strict=True)}
