"""Export a matcher to a format of another library, and check the result with that library before it appears."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from flipkd.command_config import ExportConfig
from flipkd.commands.verify import load_pairs, mismatch
from flipkd.errors import ConfigError
from flipkd.exports.formats import export_format
from flipkd.extras import require_extra
from flipkd.files import new_folder, sha256
from flipkd.progress import loading
from flipkd.student.contract import CONTRACT, matcher_folder, read_contract

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
    chosen = export_format(config.to)
    if chosen.extra is not None:
        require_extra(chosen.extra, user=f"the export to {config.to}")
    folder = matcher_folder(config.matcher)
    contract = read_contract(folder)
    pairs, labels = load_pairs(config.pairs, config.columns)
    with new_folder(config.output_dir) as temporary:  # raises before the model loads when the folder exists
        loading(config.matcher)
        from flipkd.exports.compare import compare, reference
        from flipkd.exports.record import ExportRecord, installed_libraries
        from flipkd.exports.source import Source, hub_id, public_contract, require_dtype
        from flipkd.matcher import Matcher

        dtype = require_dtype(config.dtype, contract, chosen.dtypes)
        base_path = config.base_model if config.base_model and Path(config.base_model).is_dir() else None
        base = hub_id(config.base_model or contract.base_model_name_or_path)
        matcher = Matcher.from_pretrained(folder, base_model=base_path)
        functions = chosen.functions()
        if sentence := functions.refusal(contract, matcher.student.language_model.config):
            raise ConfigError(f"{config.to}: {sentence}")
        expected = reference(matcher, pairs, dtype=dtype, compares=chosen.compares, batch_size=config.batch_size)
        source = Source(matcher, folder, dtype, base=base, base_path=base_path)
        limits = functions.write(source, temporary)
        record = ExportRecord(
            format=config.to,
            dtype=dtype,
            matcher_fingerprint=matcher.fingerprint or "",
            contract_hash=sha256(folder / CONTRACT),
            contract=public_contract(contract, base),
            limits=limits,
            libraries=installed_libraries(),
            options=source.options,
        )
        scorer = functions.load(temporary, record, base_model=base_path or contract.base_model_name_or_path)
        result = compare(expected, scorer, matcher, bounds=chosen.bounds_of(dtype, contract), labels=labels)
        if result.beyond:
            raise mismatch(f"{config.output_dir}: not written", result)
        record.model_copy(update={"check": result.as_dict()}).save(temporary)
    for limit in limits:
        logger.warning(limit)
    return result.as_dict() | {"limits": limits}
