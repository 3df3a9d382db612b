"""Compare an export, loaded by its own library, with the matcher that it came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flipkd.command_config import VerifyConfig
from flipkd.data.labels import labels_of
from flipkd.data.pairs import pairs_of, read_pairs
from flipkd.errors import MismatchError
from flipkd.exports.formats import export_format
from flipkd.exports.record import read_record
from flipkd.exports.sample import SAMPLE
from flipkd.extras import require_extra
from flipkd.progress import loading
from flipkd.student.contract import find_matcher

logger = logging.getLogger(__name__)


def verify(config: VerifyConfig) -> dict[str, Any]:
    """Load an export with its library, score the pairs with it and with the matcher, and return the comparison.

    Raises MismatchError for an export of another matcher. A result beyond the bounds is returned, with its sentences in
    `beyond`; the command line then ends with exit code 7.

    Examples:
        >>> from flipkd import export, verify
        >>> from flipkd.command_config import ExportConfig, VerifyConfig
        >>> settings = {"matcher": "run", "to": "merged", "output_dir": "verified"}
        >>> found = export(ExportConfig.check(settings))
        >>> found = verify(VerifyConfig.check({"export": "verified", "against": "run", "pairs": "test.csv"}))
        >>> found["beyond"], sorted(found["average_precision"])
        ([], ['export', 'matcher'])
    """
    VerifyConfig.require(config)
    pairs, labels = load_pairs(config.pairs, config.columns)
    loading(config.against)
    from flipkd.exports.compare import compare, reference
    from flipkd.matcher import Matcher

    record = read_record(Path(config.export))
    chosen = export_format(record.format)
    if chosen.extra is not None:
        require_extra(chosen.extra, user=f"an export to {record.format}")
    folder = find_matcher(config.against)
    matcher = Matcher.from_pretrained(folder, base_model=config.base_model)
    if record.matcher_fingerprint != matcher.fingerprint:
        raise MismatchError(
            f"{config.export}: was exported from a matcher with the fingerprint {record.matcher_fingerprint[:16]}, but "
            f"{folder} has {(matcher.fingerprint or '')[:16]}; give the matcher that it came from, or export again"
        )
    expected = reference(matcher, pairs, dtype=record.dtype, compares=chosen.compares, batch_size=config.batch_size)
    base_model = config.base_model or matcher.contract.base_model_name_or_path
    scorer = chosen.functions().load(Path(config.export), record, base_model=base_model)
    result = compare(expected, scorer, matcher, bounds=chosen.bounds_of(record.dtype, matcher.contract), labels=labels)
    return {"format": record.format, "library": chosen.library, "dtype": record.dtype, **result.as_dict()}


def load_pairs(path: str | None, columns: Mapping[str, str] | None) -> tuple[list[tuple[str, str]], np.ndarray | None]:
    """Read the pairs of a file, or return the built-in sample; and labels [N] where all rows have one."""
    if path is None:
        return list(SAMPLE), None
    dataset = read_pairs(path, columns=columns)
    labels = labels_of(dataset)
    known = len(labels) > 0 and bool((labels >= 0).all())
    return pairs_of(dataset), labels if known else None


def mismatch(where: str, beyond: Sequence[str]) -> MismatchError:
    """Return the error for a result beyond the bounds, of which `beyond` has the sentences."""
    return MismatchError(
        f"{where}: it does not score as its matcher: {'; '.join(beyond)}. Export with --dtype float32 or to another format; "
        "docs/export.md has the limits of each"
    )
