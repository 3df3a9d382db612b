"""diagnose: measure what a teacher's vectors and a model's layers know, without training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flipkd.command_config import DiagnoseConfig
from flipkd.commands.matcher_teacher import TrainingTeacher, is_matcher, side_vectors, vector_teacher
from flipkd.commands.pairs import labelled, normalised
from flipkd.commands.results import require_writable
from flipkd.config import StudentConfig
from flipkd.data.folds import cut_folds
from flipkd.data.labels import labels_of
from flipkd.data.pairs import read_pairs, sides_of
from flipkd.data.records import read_texts, required_values
from flipkd.diagnostics.domain import DomainDetector
from flipkd.diagnostics.probes import alias_auc, analogy_accuracy, centred_alignment, probe_auc
from flipkd.errors import DataError, UsageError
from flipkd.evaluate.calibration import fit_calibration
from flipkd.extras import require_extra
from flipkd.files import write_json
from flipkd.progress import loading
from flipkd.student.contract import matcher_folder

if TYPE_CHECKING:
    from flipkd.student.model import Student

logger = logging.getLogger(__name__)
Rows = list[dict[str, Any]]
FOLDS = 5  # of a probe
NEEDS = {
    "domain": ("teacher", "pairs", "other_file"),
    "aliases": ("teacher", "texts"),
    "analogies": ("teacher", "pairs"),
    "layers": ("pairs", "models"),
    "students": ("pairs", "models"),
}
# setting -> kinds that use it
USES = {
    "teacher": ("domain", "aliases", "analogies", "students"),
    "pairs": ("domain", "analogies", "layers", "students"),
    "columns": ("domain", "analogies", "layers", "students"),
    "other_file": ("domain",),
    "texts": ("aliases",),
    "group": ("aliases",),
    "models": ("layers", "students"),
    "limit": ("layers", "students"),
}


def diagnose(config: DiagnoseConfig) -> Rows:
    """Return the rows of the result; with `output` they are also written as JSON.

    Raises UsageError for a missing setting, ConfigError for a teacher without vectors, DataError for too few pairs.
    """
    require_extra("train", user="flipkd diagnose")
    config.refuse_unused(USES, by="kind")
    for name in NEEDS[config.kind]:
        if not getattr(config, name):
            raise UsageError(f"flipkd diagnose {config.kind} needs --{name}")
    if config.output:
        require_writable(config.output, mark='"kind"')
    rows = CHECKS[config.kind](config)
    if config.output:
        write_json(Path(config.output), {"kind": config.kind, "rows": rows})
    return rows


def _domain(config: DiagnoseConfig) -> Rows:
    """Measure how well pairs of another file are told from those of `pairs`; half of `pairs` fits the detector."""
    from sklearn.metrics import roc_auc_score

    teacher = vector_teacher(str(config.teacher))
    known = _pairs(config, str(config.pairs))
    order = np.random.default_rng(config.seed).permutation(len(known))
    fitted, held_out = (known.select(np.sort(half)) for half in np.array_split(order, 2))
    detector = DomainDetector(np.concatenate(side_vectors(teacher, fitted)))
    inside, outside = (
        detector.pair_similarity(*side_vectors(teacher, pairs))
        for pairs in (held_out, _pairs(config, str(config.other_file)))
    )
    label = np.repeat([0, 1], [len(inside), len(outside)])
    found: dict[str, Any] = {"known": len(inside), "other": len(outside)}
    found["roc_auc"] = float(roc_auc_score(label, -np.concatenate([inside, outside])))
    confidence = _confidence(teacher, held_out, _pairs(config, str(config.other_file)))
    if confidence is not None:
        found["roc_auc_of_confidence"] = float(roc_auc_score(label, -confidence))
    flagged = {"flagged_known": inside, "flagged_other": outside}
    return [found | {name: float(np.mean(scores < detector.bound)) for name, scores in flagged.items()}]


def _confidence(teacher: TrainingTeacher, known: Any, other: Any) -> np.ndarray | None:
    """Return the usual baseline [N]: the probability of the likelier answer; None where the known pairs have too few labels."""
    label = labels_of(known)
    if min(np.bincount(label[label >= 0], minlength=2)) < 2:
        return None
    # Not `signal`: that of a matcher is the score of its language model.
    scores, new = (np.einsum("nd,nd->n", *side_vectors(teacher, pairs)) for pairs in (known, other))
    fit = fit_calibration(scores[label >= 0], label[label >= 0], method="sigmoid")
    probability = fit.apply(np.concatenate([scores, new]))
    return np.maximum(probability, 1 - probability)


def _aliases(config: DiagnoseConfig) -> Rows:
    texts, kept = read_texts(str(config.texts), keep=[config.group])
    vectors = vector_teacher(str(config.teacher)).vectors(texts)
    groups = required_values(kept[config.group], path=str(config.texts), column=config.group)
    return [alias_auc(vectors, groups, seed=config.seed)]


def _analogies(config: DiagnoseConfig) -> Rows:
    pairs = _pairs(config, str(config.pairs))
    teacher = vector_teacher(str(config.teacher))
    return [analogy_accuracy(*side_vectors(teacher, pairs), seed=config.seed)]


def _layers(config: DiagnoseConfig) -> Rows:
    """Measure each layer of one model: AUC of a probe for the label, and for a shuffled label as the control."""
    if len(config.models) != 1:
        raise UsageError(f"flipkd diagnose layers reads one model, got {len(config.models)}")
    pairs, label = _labelled(config)
    folds = probe_folds(pairs, seed=config.seed)
    shuffled, random = np.empty_like(label), np.random.default_rng(config.seed)
    for fold in range(FOLDS):  # within each, so that the rows outside a fold have both labels
        shuffled[folds == fold] = random.permutation(label[folds == fold])
    states = _states(config.models[0], pairs)
    return [
        {
            "layer": layer,
            "roc_auc": probe_auc(layer_states, label, folds=folds),
            "shuffled_labels": probe_auc(layer_states, shuffled, folds=folds),
        }
        for layer, layer_states in enumerate(states)
    ]


def _students(config: DiagnoseConfig) -> Rows:
    """Rank models without training: by the best layer's probe, with the agreement of their states with the teacher's vectors."""
    pairs, label = _labelled(config)
    folds, of_pairs = probe_folds(pairs, seed=config.seed), None
    if config.teacher:
        teacher = vector_teacher(config.teacher)
        left, right = side_vectors(teacher, pairs)
        of_pairs = np.concatenate([np.abs(left - right), left * right], axis=1)
    rows = []
    for name in config.models:
        states = _states(name, pairs)
        by_layer = [probe_auc(one, label, folds=folds) for one in states]
        best = int(np.argmax(by_layer))
        row = {"model": name, "layer": best, "roc_auc": by_layer[best]}
        rows.append(row | ({} if of_pairs is None else {"alignment": centred_alignment(states[best], of_pairs)}))
    return sorted(rows, key=lambda row: -float(row["roc_auc"]))


def probe_folds(pairs: Any, *, seed: int) -> np.ndarray:
    """Return the fold [N] of each labelled pair; the folds share no text, or as few as the pairs allow, with a warning.

    Raises DataError with too few pairs.
    """
    label = labels_of(pairs)
    if min(np.bincount(label, minlength=2)) < FOLDS:
        raise DataError(f"a probe needs at least {FOLDS} matches and {FOLDS} other pairs")
    folds = cut_folds(pairs, FOLDS, seed=seed)
    if folds.seen:
        logger.warning(
            "%d of %d pairs have a text that other folds have too, so that the AUC may be too high: a probe may know the text "
            "and not the match",
            folds.seen,
            len(pairs),
        )
    return folds.number


CHECKS: dict[str, Callable[[DiagnoseConfig], Rows]] = {
    "domain": _domain,
    "aliases": _aliases,
    "analogies": _analogies,
    "layers": _layers,
    "students": _students,
}


def _pairs(config: DiagnoseConfig, path: str) -> Any:
    return normalised(read_pairs(path, columns=config.columns))


def _labelled(config: DiagnoseConfig) -> tuple[Any, Any]:
    """Return at most `limit` labelled pairs, and their labels [N]."""
    pairs = labelled(_pairs(config, str(config.pairs)), name=str(config.pairs))
    if len(pairs) > config.limit:
        drawn = np.random.default_rng(config.seed).choice(len(pairs), config.limit, replace=False)
        pairs = pairs.select(np.sort(drawn))
    return pairs, labels_of(pairs)


def _states(name: str, pairs: Any) -> np.ndarray:
    from flipkd.student.scoring import layer_states

    loading(name)
    return layer_states(_student(name), *sides_of(pairs), progress=Path(name).name)


def _student(name: str) -> Student:
    """Load the student of a matcher, or a base model under the default prompt."""
    from flipkd.device import best_device
    from flipkd.student.loading import load_student, new_student

    if is_matcher(name):
        return load_student(matcher_folder(name))[0].to(best_device())
    config = StudentConfig(model_name_or_path=name, allow_readout_off_path=True)
    return new_student(config, device=best_device())[0]
