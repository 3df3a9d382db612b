"""Export a matcher to a format of another library, and check the result with that library before it appears."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flipkd.command_config import ExportConfig
from flipkd.commands.verify import load_pairs, mismatch
from flipkd.errors import ConfigError
from flipkd.exports.formats import ExportFormat, export_format
from flipkd.exports.readme import readme
from flipkd.exports.record import ExportRecord, installed_libraries
from flipkd.extras import require_extra
from flipkd.files import CARD, new_folder, sha256, write_text
from flipkd.models.hub_names import hub_id
from flipkd.progress import loading
from flipkd.student.contract import CONTRACT, find_matcher, read_contract

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flipkd.exports.compare import Comparison
    from flipkd.exports.source import Source

logger = logging.getLogger(__name__)


def export(config: ExportConfig) -> dict[str, Any]:
    """Write the matcher to `config.output_dir` in the format `config.to`, and return the comparison with the matcher.

    The export is loaded by its library and compared on `config.pairs`, or on a few neutral pairs, before it appears.
    Raises ConfigError with one sentence where a part of the score cannot be exported, MismatchError when the export scores
    beyond its bounds, ResourceError when `output_dir` exists; then nothing is written.

    Examples:
        >>> from flipkd import export
        >>> from flipkd.command_config import ExportConfig
        >>> settings = {"matcher": "run", "to": "merged", "output_dir": "exported"}
        >>> found = export(ExportConfig.check(settings))
        >>> found["pairs"], found["beyond"]
        (12, [])
    """
    ExportConfig.require(config)
    pairs, labels = load_pairs(config.pairs, config.columns)
    with new_folder(config.output_dir) as temporary:  # raises before the model loads when the folder exists
        record, result = write_export(config, temporary, pairs, labels)
        if result.beyond:
            raise mismatch(f"{config.output_dir}: not written", result.beyond)
        record.save(temporary)
        write_text(temporary / CARD, readme(record))
    for limit in record.limits:
        logger.warning(limit)
    return result.as_dict() | {"limits": record.limits}


def write_export(
    config: ExportConfig, target: Path, pairs: Sequence[tuple[str, str]], labels: NDArray[np.int64] | None
) -> tuple[ExportRecord, Comparison]:
    """Write the weights and the tokenizer to `target`, load them with their library and compare them with the matcher.

    Return the record, with the comparison in it, and the comparison. Raises ConfigError for a part that cannot be exported and
    for a library that is not installed.
    """
    chosen = export_format(config.to)
    if chosen.extra is not None:
        require_extra(chosen.extra, user=f"the export to {config.to}")
    folder = find_matcher(config.matcher)
    if read_contract(folder).glossary is not None:
        raise ConfigError(
            f"{config.matcher}: adds definitions of a glossary to its texts, which no other library does; train without "
            "glossary on pairs of flipkd enrich, and enrich the pairs before each use"
        )
    loading(config.matcher)
    from flipkd.exports.compare import compare, reference

    source = _load(config, chosen, folder)
    contract, functions = source.contract, chosen.functions()
    if sentence := functions.refusal(contract, source.matcher.student.language_model.config):
        raise ConfigError(f"{config.to}: {sentence}")
    expected = reference(
        source.matcher, pairs, dtype=source.dtype, compares=chosen.compares, batch_size=config.batch_size
    )
    record = _record(config.to, source, limits=functions.write(source, target))
    scorer = functions.load(target, record, base_model=source.base_path or contract.base_model_name_or_path)
    result = compare(expected, scorer, source.matcher, bounds=chosen.bounds_of(source.dtype, contract), labels=labels)
    return record.model_copy(update={"check": result.as_dict()}), result


def _load(config: ExportConfig, chosen: ExportFormat, folder: Path) -> Source:
    """Load the matcher to export."""
    from flipkd.exports.source import Source, base_location, require_dtype
    from flipkd.matcher import Matcher

    contract = read_contract(folder)
    dtype = require_dtype(config.dtype, contract, chosen.dtypes)
    base_path = base_location(config.base_model, contract)
    base = hub_id(config.base_model or contract.base_model_name_or_path)
    matcher = Matcher.from_pretrained(folder, base_model=base_path)
    return Source(matcher, folder, dtype, base=base, base_path=base_path)


def _record(to: str, source: Source, *, limits: list[str]) -> ExportRecord:
    """Return the record of a written export, without the result of its check."""
    from flipkd.exports.source import public_contract

    return ExportRecord(
        format=to,
        dtype=source.dtype,
        matcher_fingerprint=source.matcher.fingerprint or "",
        contract_hash=sha256(source.folder / CONTRACT),
        contract=public_contract(source.contract, source.base),
        limits=limits,
        libraries=installed_libraries(),
        options=source.options,
    )
