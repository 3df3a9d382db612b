"""Settings of the server."""

from __future__ import annotations

from pydantic import Field

from flipkd.command_config.fields import BaseModel, Cascade, Count, Encoder, Exact, MatcherFolder
from flipkd.command_config.reviewing import NewQueue, ReviewSample
from flipkd.settings import Settings


class MatcherEntry(Settings):
    """One matcher of a file of models."""

    matcher: MatcherFolder
    base_model: BaseModel = None


class ModelsFile(Settings):
    """The file of `flipkd serve --models`."""

    matchers: dict[str, str | MatcherEntry] = Field(min_length=1, description="name of each matcher and its folder")
    aliases: dict[str, str | dict[str, float]] = Field({}, description="alias of a matcher, or shares of several")
    default: str | None = Field(None, description="matcher or alias for requests that name none")


class ServeConfig(Settings):
    """Settings of `flipkd serve`."""

    matcher: MatcherFolder | None = Field(
        None, description="matcher folder, made by flipkd train, or its id on the hub: OWNER/NAME"
    )
    matchers: dict[str, str] = Field({}, description="several matchers: the name of each and its folder")
    aliases: dict[str, str | dict[str, float]] = Field(
        {}, description="alias of a matcher, or of several with their shares: live={v1: 90, v2: 10}"
    )
    default: str | None = Field(
        None,
        description="matcher or alias for requests that name none; default: the first alias, or else the first matcher",
    )
    models: str | None = Field(
        None, description="YAML file with matchers, aliases and default, which each reload reads again"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any unused port")
    api_key_file: str | None = Field(
        None, description="file with the API key that requests must send, or with several named keys and their limits"
    )
    trusted_proxies: list[str] = Field(
        [], description="networks of proxies, as 10.0.0.0/8, whose X-Forwarded-For names the client"
    )
    requests_per_minute: Count | None = Field(None, description="maximum requests per minute of one client address")
    insecure: bool = Field(False, description="allow other machines to connect without an API key")
    cors_origins: list[str] = Field(
        [], description="origins of web pages that may use the server, as https://shop.example; * for every page"
    )
    answer_log: str | None = Field(
        None, description="file for a line of JSON per scored pair: id, version, hashed client, score, decision"
    )
    log_texts: bool = Field(False, description="write the texts of the pairs to the answer log too")
    answer_log_bytes: Count = Field(100_000_000, description="size at which the answer log is rotated")
    answer_log_files: Count = Field(10, description="rotated answer logs to keep")
    index: str | None = Field(None, description="index folder for /search, made by flipkd index")
    encoder: Encoder = None
    base_model: BaseModel = None
    merge: bool = Field(False, description="merge LoRA into the weights: faster, more memory")
    cascade: Cascade = False
    exact: Exact = False
    workers: Count = Field(1, description="processes that share the port, for CPUs; each loads the matchers")
    batch_size: Count = Field(32, description="batch size in pairs")
    max_wait: float = Field(0.0, ge=0, description="maximum seconds that a batch waits for more pairs")
    max_items: Count = Field(1000, description="maximum pairs or texts of one request")
    max_queue: Count = Field(4096, description="maximum pairs or texts in the queue")
    timeout: float = Field(30.0, ge=0.001, description="timeout of a request in seconds")
    grace: float = Field(30.0, ge=0, description="seconds to finish accepted requests after SIGTERM")
    review_queue: NewQueue = None
    review_sample: ReviewSample = 0.01
    review_votes: Count = Field(1, description="annotators who label each pair on the page /review")
