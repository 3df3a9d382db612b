"""The score contract: all that a score depends on besides weights, in one file (`matcher.json`) that every runtime reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flipkd import __version__
from flipkd.errors import ArtefactError
from flipkd.files import read_json, write_json

# 2 added symmetric and review_threshold, 3 load_in_4bit, 4 base_config, golden, directed, teacher and cascade,
# 5 text_normalisation
FORMAT: Literal[5] = 5
CONTRACT = "matcher.json"


class GoldenPair(BaseModel):
    """A pair of texts as this matcher read and scored it when it was saved: its token ids, and logit(yes) - logit(no)."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    text1: str
    text2: str
    ids: list[int]
    score: float


class KeptTeacher(BaseModel):
    """The small encoder in the matcher's folder: the hash of all that its numbers depend on, and how it is loaded."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    kind: Literal["bi_encoder", "cross_encoder"]
    max_length: int | None
    prompt: str


class CascadeBand(BaseModel):
    """Between which teacher scores the student reads a pair, and the line that gives any other one its score."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    low: float | None
    high: float | None
    slope: float = Field(gt=0)
    intercept: float


class ScoreContract(BaseModel):
    """Prompt, label tokens, readout, truncation, base model, calibration and threshold of one matcher."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    format: Literal[1, 2, 3, 4, 5] = FORMAT
    flipkd_version: str = __version__
    base_model_name_or_path: str
    base_model_hash: str
    base_config: dict[str, Any] | None = None
    """The base model's config.json as transformers completes it, without the keys that change no score."""
    dtype: str
    load_in_4bit: bool = False
    """The linear layers of the base hold 4 bits a weight; its hash is that of the weights before."""
    template: dict[str, str]
    label_ids: tuple[int, int]
    reading: Literal["joint", "separate", "blocked"]
    max_text_length: int
    text_normalisation: Literal[1] | None = None
    """By which rules of flipkd/text.py each text is normalised before student and teacher read it; None: by none."""
    pooling: Literal["mean"] = "mean"
    readout_places: list[str] = Field(min_length=1)
    score: dict[Literal["answer", "cosine", "teacher"], float] = Field(default={"answer": 1.0}, min_length=1)
    """Weights of the sum that is the pair's score."""
    teacher: KeptTeacher | None = None
    """What gives the score `teacher`: a bi-encoder's cosine or a cross-encoder's logit."""
    directed: bool = False
    """(a, b) and (b, a) are two questions, as in entailment."""
    symmetric: bool = False
    """Score (a, b) and (b, a) and take the mean."""
    calibration: dict[str, Any] | None = None
    threshold: float | None = None
    """A score of at least this is a match."""
    review_threshold: float | None = None
    """A score of at least this and below `threshold` is for a person to look at."""
    cascade: CascadeBand | None = None
    """Where the teacher may decide alone."""
    golden: GoldenPair | None = None
    """Computed again at each load."""

    @model_validator(mode="after")
    def _has_its_teacher(self) -> Self:
        if self.teacher is None and ("teacher" in self.score or self.cascade is not None):
            raise ValueError("score or cascade ask for a teacher, but none is kept")
        if set(self.score) == {"teacher"}:
            raise ValueError("score is the teacher's alone; it must hold the answer or the cosine")
        return self

    @model_validator(mode="after")
    def _band(self) -> Self:
        below = self.review_threshold
        if below is not None and (self.threshold is None or below >= self.threshold):
            raise ValueError(f"review_threshold {below} must lie below threshold {self.threshold}")
        return self

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.directed and self.symmetric:
            raise ValueError("a directed matcher cannot be symmetric")
        return self

    def save(self, folder: Path) -> None:
        """Write `matcher.json` into `folder`."""
        write_json(folder / CONTRACT, self.model_dump(mode="json"))


def matcher_folder(folder: str | Path) -> Path:
    """The matcher folder that is meant by a path: it itself, or the one inside a run folder."""
    path = Path(folder)
    inside = path / "matcher"
    return inside if not (path / CONTRACT).exists() and (inside / CONTRACT).exists() else path


def read_contract(folder: Path) -> ScoreContract:
    """The contract in `folder`. Raises ArtefactError when it is missing, malformed or of a newer format."""
    values = read_json(folder / CONTRACT)
    if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise ArtefactError(f"{folder / CONTRACT}: format {values['format']} needs a newer flipkd than {__version__}")
    try:
        return ScoreContract.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ArtefactError(f"{folder / CONTRACT}: {where}: {first['msg']}") from None
