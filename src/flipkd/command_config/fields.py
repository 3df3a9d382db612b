"""Fields that several commands share."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

ARGUMENT = partial(Field, json_schema_extra={"argument": True})  # positional on the command line
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
MatcherFolder = Annotated[
    str, Field(description="matcher folder, made by flipkd train, or its id on the hub: OWNER/NAME")
]
BaseModel = Annotated[str | None, Field(description="new path of the base model, if it has moved")]
BatchSize = Annotated[
    Count | None, Field(description="batch size in pairs; default: 32 on a CPU, as large as fits on a GPU")
]
Keep = Annotated[list[str], Field(description="columns of the file to copy to the output")]
ENCODERS = "model of the vectors: teacher folder, or matcher that keeps its teacher or has reading=separate or blocked"
Encoder = Annotated[str | None, Field(description="new path of the index's encoder, if it has moved")]
Cascade = Annotated[
    bool,
    Field(
        description="cascade: the kept teacher decides the clear pairs, the LLM the others (needs calibrate --cascade)"
    ),
]
Exact = Annotated[
    bool, Field(description="score each pair alone, so that its score does not depend on the other pairs; slower")
]
Memory = Annotated[
    str | None, Field(description="file of reviewed pairs, whose labels decide these pairs before any model")
]
