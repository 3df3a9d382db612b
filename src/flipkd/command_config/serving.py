"""Settings of the server."""

from __future__ import annotations

from pydantic import Field

from flipkd.command_config.fields import BaseModel, Cascade, Count, Encoder, Exact, MatcherFolder
from flipkd.command_config.reviewing import NewQueue, ReviewSample
from flipkd.settings import Settings


class ServeConfig(Settings):
    """Settings of `flipkd serve`."""

    matcher: MatcherFolder
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any unused port")
    api_key_file: str | None = Field(None, description="file with the API key that requests must send")
    insecure: bool = Field(False, description="allow other machines to connect without an API key")
    cors_origins: list[str] = Field(
        [], description="origins of web pages that may use the server, as https://shop.example; * for every page"
    )
    index: str | None = Field(None, description="index folder for /search, made by flipkd index")
    encoder: Encoder = None
    base_model: BaseModel = None
    merge: bool = Field(False, description="merge LoRA into the weights: faster, more memory")
    cascade: Cascade = False
    exact: Exact = False
    batch_size: Count = Field(32, description="batch size in pairs")
    max_wait: float = Field(0.0, ge=0, description="maximum seconds that a batch waits for more pairs")
    max_items: Count = Field(1000, description="maximum pairs or texts of one request")
    max_queue: Count = Field(4096, description="maximum pairs or texts in the queue")
    timeout: float = Field(30.0, ge=0.001, description="timeout of a request in seconds")
    grace: float = Field(30.0, ge=0, description="seconds to finish accepted requests after SIGTERM")
    review_queue: NewQueue = None
    review_sample: ReviewSample = 0.01
    review_votes: Count = Field(1, description="annotators who label each pair on the page /review")
