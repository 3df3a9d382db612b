"""Settings of `flipkd generate`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, Count, Share
from flipkd.setting_fields import Columns, Seed
from flipkd.settings import Settings


class GenerateConfig(Settings):
    """Settings of `flipkd generate`."""

    seeds: str = ARGUMENT(description="file of texts (column `text`) or of pairs, from which the generator starts")
    columns: Columns = None
    kind: Literal["pairs", "edits", "relabel", "labels", "rationales"] = Field(
        "pairs",
        description="pairs: new texts for each seed; edits: one number, day or name changed, without a server; relabel: a query "
        "for each seed, with the best and a bad text; labels: yes or no for unlabelled pairs; rationales: reasons for labels",
    )
    templates: list[str] = Field(
        ["paraphrase", "contrast"],
        min_length=1,
        description="pairs: what to write: paraphrase, question, keywords, title, claim, description (match); misleading, "
        "contrast, contradiction (no match)",
    )
    count: Count = Field(2, description="pairs: texts per seed and template")
    base_url: str = Field("http://127.0.0.1:8080/v1", description="address of an OpenAI-compatible server")
    model: str = Field("default", description="name of the model for the server")
    api_key_file: str | None = Field(None, description="file with the key of the server")
    temperature: float = Field(0.7, ge=0, le=2, description="temperature of the generator")
    max_tokens: Count = Field(400, description="maximum tokens of a reply")
    max_requests: Count = Field(1000, description="budget: requests that are sent; replies in the cache are free")
    concurrency: Count = Field(4, description="requests at once")
    timeout: float = Field(120.0, gt=0, description="timeout of a request in seconds")
    critic: Literal["teacher", "endpoint", "none"] = Field(
        "teacher", description="who must agree with the label of a pair: the teacher, the generator itself, or nobody"
    )
    teacher: str | None = Field(None, description="teacher folder or matcher, for the critic and for nearest texts")
    validation_file: str | None = Field(
        None, description="labelled pairs that calibrate the teacher and measure the critic"
    )
    match_from: Share = Field(0.6, description="lowest probability at which the critic keeps a pair as a match")
    mismatch_up_to: Share = Field(0.4, description="highest probability at which the critic keeps a pair as no match")
    exclude: list[str] = Field([], description="files of pairs, such as the test pairs, of which no near copy is kept")
    demonstrations: str | None = Field(
        None, description="labels: labelled pairs; the most similar ones are shown as examples"
    )
    candidates: Count = Field(10, description="relabel: nearest texts of a query that the generator rates")
    output: str = Field("generated.csv", description="output file (.csv, .jsonl or .parquet)")
    seed: Seed = 0
