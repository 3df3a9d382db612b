"""Table of export formats. A format is one module of this package with the functions `refusal`, `write` and `load`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from flipkd.errors import ConfigError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flipkd.exports.record import ExportRecord
    from flipkd.exports.source import Source
    from flipkd.student.contract import ScoreContract

DTYPES = ("bfloat16", "float16", "float32")


class Bounds(NamedTuple):
    """Bounds of an export against its matcher.

    difference: of scores, in their standard deviations, at least 1. spearman: for weights of 16 bits it is lowered to that of
    the matcher with itself in other batches, minus SLACK, since both round.
    """

    difference: float
    spearman: float
    noisy: bool = False


SLACK = 0.01
# Measured on the packaged student (docs/export.md).
EXACT, ROUNDED, EIGHT_BITS = Bounds(1e-4, 0.9999), Bounds(0.25, 0.99, noisy=True), Bounds(0.3, 0.9)
BOUNDS = {"float32": EXACT, "bfloat16": ROUNDED, "float16": ROUNDED, "int8": EIGHT_BITS}
CACHED_16_BITS = BOUNDS | {"float32": Bounds(0.02, 0.999)}  # llama.cpp keeps keys and values in 16 bits


class ExportedScorer(Protocol):
    """An export that another library has loaded; it computes ids and scores without code of `flipkd.student`."""

    reads_pairs: bool
    """True if a row is a pair; false if it is a text alone."""
    truncates_each_text: bool
    """True if each text is truncated alone, as in the matcher; false if a library truncates both texts together."""

    def token_ids(self, left: Sequence[str], right: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each pair, or of each text alone: left texts first."""

    def scores(self, left: Sequence[str], right: Sequence[str]) -> NDArray[np.float32]:
        """Compute the scores [N] of pairs, on the scale of the matcher's scores."""


class FormatModule(Protocol):
    """Functions of a format's module."""

    def refusal(self, contract: ScoreContract, config: Any) -> str | None:
        """Return the sentence that says what cannot be exported and what to do; None if all can.

        `config`: transformers' configuration of the base model.
        """

    def write(self, source: Source, folder: Path) -> list[str]:
        """Write the export into `folder`, which the caller makes atomic; return sentences about its limits."""

    def load(self, folder: Path, record: ExportRecord, *, base_model: str | None) -> ExportedScorer:
        """Load an export with its library."""


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """An export format: its module, the library that loads it, the extra that is needed, and its bounds by dtype."""

    module: str
    library: str
    extra: str | None = None
    dtypes: tuple[str, ...] = DTYPES
    bounds: Mapping[str, Bounds] = field(default_factory=lambda: BOUNDS)
    compares: Literal["score", "cosine"] = "score"
    """The number of a pair that the export gives: the score of the matcher, or the cosine of the vectors of both texts."""

    def bounds_of(self, dtype: str, contract: ScoreContract) -> Bounds:
        """Return the bounds for an export with weights of `dtype`; a base of 4 bits is compared like one of 16."""
        return self.bounds["bfloat16" if contract.load_in_4bit and dtype != "int8" else dtype]

    def functions(self) -> FormatModule:
        """Import the module of the format."""
        module: Any = import_module(self.module)
        return module  # type: ignore[no-any-return]


FORMATS = {
    "merged": ExportFormat(module="flipkd.exports.merged", library="transformers"),
    "adapter": ExportFormat(module="flipkd.exports.adapter", library="peft"),
    "sentence-transformers": ExportFormat(
        module="flipkd.exports.cross_encoder", library="sentence-transformers", extra="train"
    ),
    "sequence-classification": ExportFormat(module="flipkd.exports.sequence_classification", library="transformers"),
    "text-encoder": ExportFormat(
        module="flipkd.exports.text_encoder",
        library="sentence-transformers",
        extra="train",
        dtypes=("float32",),
        compares="cosine",
    ),
    "onnx": ExportFormat(
        module="flipkd.exports.onnx", library="onnxruntime", extra="onnx", dtypes=("float32", "int8")
    ),
    "gguf": ExportFormat(
        module="flipkd.exports.gguf",
        library="llama-cpp-python",
        extra="gguf",
        dtypes=("float16", "bfloat16", "float32", "int8"),
        bounds=CACHED_16_BITS,
    ),
}


def export_format(name: str) -> ExportFormat:
    """Return a format by name. Raises ConfigError for an unknown one."""
    if name not in FORMATS:
        raise ConfigError(f"the export format {name!r} is unknown; {nearest(name, list(FORMATS))}")
    return FORMATS[name]
