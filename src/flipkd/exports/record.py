"""Record of an export, `flipkd_export.json`: the matcher that it came from, its score contract, limits and check."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from flipkd import __version__
from flipkd.artefacts import ADAPTER, MATCHER, check_export_folder
from flipkd.errors import ArtefactError
from flipkd.files import check_manifest, read_json, write_json
from flipkd.schema_errors import first_fault
from flipkd.student.contract import ScoreContract

RECORD = "flipkd_export.json"
LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "sentence-transformers",
    "safetensors",
    "tokenizers",
    "onnx",
    "onnxruntime",
    "gguf",
    "llama-cpp-python",
)


class ExportRecord(BaseModel):
    """Format, origin, contract and limits of one export."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    record: Literal[1] = 1
    format: str
    dtype: str
    flipkd_version: str = __version__
    matcher_fingerprint: str
    """The sha256 of the manifest of the matcher folder."""
    contract_hash: str
    """The sha256 of the matcher's matcher.json."""
    contract: ScoreContract
    """Template, truncation, label tokens, score, calibration, threshold and review band, and the hash of the base."""
    limits: list[str]
    """Sentences about inputs and parts of the matcher for which the export differs."""
    check: dict[str, Any] | None = None
    """Result of the comparison with the matcher at the time of the export."""
    libraries: dict[str, str]
    options: dict[str, Any] = {}
    """Further facts that the format's own `load` reads."""

    def save(self, folder: Path) -> None:
        """Write the record into `folder`."""
        write_json(folder / RECORD, self.model_dump(mode="json"))


def installed_libraries() -> dict[str, str]:
    """Return the versions of the libraries that made an export."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_record(folder: Path) -> ExportRecord:
    """Read the record of an export and check its files. Raises ArtefactError when it is missing, damaged or malformed.

    Raises RefusedError naming file and key where a file would choose code that a library runs.
    """
    if folder.is_dir() and not (folder / RECORD).exists():
        raise ArtefactError(f"{folder}: holds no {RECORD}; give a folder that flipkd export wrote")
    check_manifest(folder)
    try:
        record = ExportRecord.model_validate(read_json(folder / RECORD))
    except ValidationError as error:
        raise ArtefactError(f"{folder / RECORD}: {first_fault(error)}; export the matcher again") from None
    _refuse_code(folder, record)
    return record


def _refuse_code(folder: Path, record: ExportRecord) -> None:
    unread = {RECORD, MATCHER}
    if record.format == "adapter":
        from flipkd.student.adapter import lora_config

        lora_config(folder / ADAPTER)
        unread.add(ADAPTER)
    if record.format == "sentence-transformers" and record.contract.reading == "blocked":
        unread.add("modules.json")  # names a class of flipkd; exports.blocked_transformer does not read it
    check_export_folder(folder, unread=unread)
