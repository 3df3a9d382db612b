"""Settings of the commands that make, check and change files of pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flipkd.command_config.fields import ARGUMENT, Count, Share
from flipkd.setting_fields import Columns, Directed, Seed
from flipkd.settings import Settings


class CheckConfig(Settings):
    """Settings of `flipkd check`."""

    files: list[str] = ARGUMENT(min_length=1, description="files of pairs: csv, tsv, jsonl, parquet or hub ids")
    columns: Columns = None
    tokenizer: str | None = Field(None, description="model whose tokenizer counts the lengths")
    directed: Directed = False


class SplitConfig(Settings):
    """Settings of `flipkd split`."""

    pairs: str = ARGUMENT(description="file of pairs")
    columns: Columns = None
    output_dir: str = Field("data", description="output folder for the three files")
    by: Literal["text1", "text2", "group"] | None = Field(
        None,
        description="column whose equal values stay in one part, e.g. text1 for an FAQ; default: every shared text and group",
    )
    validation: Share = Field(0.1, description="share of validation pairs")
    test: Share = Field(0.2, description="share of test pairs")
    seed: Seed = 0


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


class SelectConfig(Settings):
    """Settings of `flipkd select`."""

    pairs: str = ARGUMENT(description="file of pairs")
    columns: Columns = None
    by: Literal["difficulty", "disagreement", "unfamiliarity", "errors"] = Field(
        description="value of a pair: difficulty (1 for a probability of 0.5), disagreement of teacher and matcher, "
        "unfamiliarity of its texts for the teacher; errors: only pairs that the matcher decides wrongly"
    )
    teacher: str | None = Field(None, description="teacher folder")
    validation_file: str | None = Field(None, description="labelled pairs that calibrate the teacher")
    known_file: str | None = Field(
        None, description="unfamiliarity: pairs whose texts are familiar, such as the training pairs"
    )
    matcher: str | None = Field(None, description="matcher folder")
    quantiles: list[float] = Field(
        [0.0, 1.0], min_length=2, max_length=2, description="quantiles of the value between which pairs are kept"
    )
    output: str = Field("selected.csv", description="output file (.csv, .jsonl or .parquet)")


class EnrichConfig(Settings):
    """Settings of `flipkd enrich`."""

    pairs: str = ARGUMENT(description="file of pairs")
    columns: Columns = None
    glossary: str | None = Field(
        None, description="file with the columns term and definition, added to texts that have the term"
    )
    max_characters: Count = Field(300, description="maximum length of the definitions of a text")
    context: list[str] = Field(
        [], max_length=2, description="one column to add to text2, such as a rationale, or two: for text1 and text2"
    )
    instead: list[str] = Field([], description="two columns to read instead of the texts, such as their translations")
    teacher: str | None = Field(
        None,
        description="teacher or matcher that reads the enriched texts: the output then has the plain texts and its score",
    )
    output: str = Field("enriched.csv", description="output file (.csv, .jsonl or .parquet)")


class PropagateConfig(Settings):
    """Settings of `flipkd propagate`."""

    pairs: str = ARGUMENT(description="file of pairs with probabilities, made by flipkd match")
    columns: Columns = None
    probability: str = Field("probability", description="column of the probabilities")
    alpha: float = Field(0.5, ge=0, lt=1, description="share of the probability that comes from neighbours")
    output: str = Field("propagated.csv", description="output file (.csv, .jsonl or .parquet)")


class WeakPairsConfig(Settings):
    """Settings of `flipkd weak-pairs`."""

    links: str = ARGUMENT(description="file of links: clicks, citations or tags, one a row")
    text: str = Field("text", description="column of the texts to pair")
    target: str = Field("target", description="column of what they link to")
    match_from: Share = Field(0.3, description="lowest score of a match; 1 if all targets are shared")
    min_shared: Count = Field(2, description="least number of shared targets of a match")
    output: str = Field("weak_pairs.csv", description="output file (.csv, .jsonl or .parquet)")
    seed: Seed = 0
