"""The score contract: one file (`matcher.json`) with everything that a score depends on besides weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flipkd import __version__, hub
from flipkd.errors import ArtefactError, UsageError
from flipkd.files import read_json, write_json
from flipkd.schema_errors import first_fault

# 2 added symmetric and review_threshold, 3 load_in_4bit, 4 base_config, golden, directed, teacher and cascade,
# 5 text_normalisation, 6 base_rate and glossary
FORMAT: Literal[6] = 6
CONTRACT = "matcher.json"
MATCHER_FOLDER = "matcher"  # in a run folder


class GoldenPair(BaseModel):
    """A pair of texts with its token ids and its score, logit(yes) - logit(no), at the time of saving."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    text1: str
    text2: str
    ids: list[int]
    score: float


class KeptTeacher(BaseModel):
    """The teacher in the matcher folder: its fingerprint and the arguments to load it."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    kind: Literal["bi_encoder", "cross_encoder"]
    max_length: int | None
    prompt: str


class GlossaryTerms(BaseModel):
    """Definitions by term, and the maximum length of what is added to a text."""

    model_config = ConfigDict(extra="forbid")

    definitions: dict[str, list[str]]
    max_characters: int = Field(ge=1)


class CascadeBand(BaseModel):
    """The band of teacher scores in which the student scores a pair; outside it the score is slope * teacher + intercept."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    low: float | None
    high: float | None
    slope: float = Field(gt=0)
    intercept: float


class BaseRate(BaseModel):
    """Share of matches for which probabilities and thresholds are fitted, and in how many pairs it was counted.

    `pairs` is None for a share that was stated, for which they were corrected.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    rate: float = Field(gt=0, lt=1)
    pairs: int | None = None


class ScoreContract(BaseModel):
    """Prompt, label tokens, readout, truncation, base model, calibration and threshold of one matcher."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    format: Literal[1, 2, 3, 4, 5, 6] = FORMAT
    flipkd_version: str = __version__
    base_model_name_or_path: str
    base_model_hash: str
    base_config: dict[str, Any] | None = None
    """The base model's config.json with the defaults of transformers, without the keys that change no score."""
    dtype: str
    load_in_4bit: bool = False
    """True if the linear layers of the base are quantized to 4 bits; base_model_hash is that of the original weights."""
    template: dict[str, str]
    label_ids: tuple[int, int]
    reading: Literal["joint", "separate", "blocked"]
    max_text_length: int
    text_normalisation: Literal[1] | None = None
    """Version of the rules of flipkd/text.py by which each text is normalised for student and teacher; None: no rules."""
    glossary: GlossaryTerms | None = None
    """Definitions that are added to the texts of the student in which their terms occur."""
    pooling: Literal["mean"] = "mean"
    readout_places: list[str] = Field(min_length=1)
    score: dict[Literal["answer", "cosine", "teacher"], float] = Field(default={"answer": 1.0}, min_length=1)
    """Weights of the weighted sum that is the score of a pair."""
    teacher: KeptTeacher | None = None
    """The teacher that computes the score `teacher`: the cosine of a bi-encoder or the logit of a cross-encoder."""
    directed: bool = False
    """True if (a, b) and (b, a) have different labels, as in entailment."""
    symmetric: bool = False
    """True if the score is the mean over (a, b) and (b, a)."""
    calibration: dict[str, Any] | None = None
    base_rate: BaseRate | None = None
    threshold: float | None = None
    """A score of at least this is a match."""
    review_threshold: float | None = None
    """A score of at least this and below `threshold` is for a person to review."""
    cascade: CascadeBand | None = None
    """The teacher scores outside of which the teacher decides alone."""
    golden: GoldenPair | None = None
    """A pair whose score is computed and compared at each load."""

    @model_validator(mode="after")
    def _require_teacher(self) -> Self:
        if self.teacher is None and ("teacher" in self.score or self.cascade is not None):
            raise ValueError("score or cascade needs a teacher, but the field teacher is empty")
        if set(self.score) == {"teacher"}:
            raise ValueError("score holds only the teacher; it must hold the answer or the cosine")
        return self

    @model_validator(mode="after")
    def _check_review_band(self) -> Self:
        below = self.review_threshold
        if below is not None and (self.threshold is None or below >= self.threshold):
            raise ValueError(f"review_threshold is {below}; it must be below threshold, which is {self.threshold}")
        return self

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.directed and self.symmetric:
            raise ValueError("directed and symmetric are both true; at most one may be")
        return self

    @property
    def keeps_bi_encoder(self) -> bool:
        """Whether the matcher keeps a teacher that has vectors of single texts."""
        return self.teacher is not None and self.teacher.kind == "bi_encoder"

    @property
    def formula(self) -> str:
        """The score as a weighted sum, for people, such as `1 answer + 0.5 cosine`."""
        return " + ".join(f"{weight:.4g} {kind}" for kind, weight in self.score.items())

    def save(self, folder: Path) -> None:
        """Write `matcher.json` into `folder`."""
        write_json(folder / CONTRACT, self.model_dump(mode="json"))


def matcher_folder(folder: str | Path) -> Path:
    """Return the matcher folder for a path: the path itself, or the folder `matcher` in a run folder."""
    path = Path(folder)
    inside = path / MATCHER_FOLDER
    return inside if not (path / CONTRACT).exists() and (inside / CONTRACT).exists() else path


def find_matcher(name: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Return the folder of a matcher: that of a local path, or the download of a repository of the hub.

    A name is OWNER/NAME or OWNER/NAME@REVISION; a local path of that name comes first. Raises ArtefactError for neither,
    UsageError for the revision of a local path, and the errors of `hub.download_matcher`.
    """
    repository, _, named = str(name).partition("@")
    if isinstance(name, Path) or Path(name).exists() or not hub.is_repository(repository):
        if revision is not None:
            raise UsageError(f"{name}: is a local path, which has no revision; leave revision out")
        return matcher_folder(name)
    if named and revision not in (None, named):
        raise UsageError(f"{name}: names a revision, but revision is {revision}; give one of them")
    return hub.download_matcher(repository, revision=revision or named or None, token=token)


def matcher_name(folder: Path) -> str:
    """Return a name of a matcher for people: that of its repository, of its run for a folder named matcher, or its own."""
    path = folder.resolve()
    named = path.parent.name if path.name == MATCHER_FOLDER else ""
    return hub.repository_of(path) or named or path.name


def require_contract(folder: Path) -> None:
    """Raise ArtefactError for a folder that is no matcher, such as that of a teacher."""
    if folder.is_dir() and not (folder / CONTRACT).exists():
        raise ArtefactError(
            f"{folder}: holds no {CONTRACT}; give a folder that flipkd train wrote, or the matcher folder in it"
        )


def read_contract(folder: Path) -> ScoreContract:
    """Read the contract in `folder`. Raises ArtefactError when it is missing, malformed or of a newer format."""
    values = read_json(folder / CONTRACT)
    if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise ArtefactError(
            f"{folder / CONTRACT}: format {values['format']} needs a newer flipkd than {__version__}; upgrade flipkd"
        )
    try:
        return ScoreContract.model_validate(values)
    except ValidationError as error:
        raise ArtefactError(f"{folder / CONTRACT}: {first_fault(error)}") from None
