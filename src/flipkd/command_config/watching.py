"""Settings of the commands that read logs of answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flipkd.command_config.fields import Count
from flipkd.settings import Settings

Alpha = Annotated[float, Field(gt=0, lt=0.5)]


class WatchConfig(Settings):
    """Settings of `flipkd watch`."""

    reference: str = Field(
        description="scored pairs of a time without drift, such as validation: output of flipkd match"
    )
    log: str = Field(description="file or folder of newly scored pairs: output of flipkd match, or a server's log")
    window: Literal["all", "file", "day"] | Annotated[int, Field(ge=30)] = Field(
        "all", description="rows that are compared as one: all, those of a file, of a day (UTC), or as many in a row"
    )
    alarms: Literal["any", "last"] = Field(
        "any", description="windows that may raise an alarm: any, judged together, or the last, judged alone"
    )
    alpha: Alpha = Field(0.01, description="probability of an alarm without drift")
    least_effects: dict[str, float] = Field({}, description="smallest effect of a check that is an alarm")
    version: str | None = Field(None, description="rows of a log with this version, matcher or alias only")
    labels: str | None = Field(None, description="file of labels that came back: id and label in each row")
    unit: str | None = Field(
        None, description="column whose equal values are one unit, such as text1; a random row of each is compared"
    )
    teacher: str | None = Field(None, description="folder of a bi-encoder teacher: also compare its vectors")
    sample: Count = Field(2000, description="rows of a window that the teacher encodes")
    output: str | None = Field(None, description="JSON file for the checks of all windows")
    prometheus: str | None = Field(
        None, description="file for the textfile collector of Prometheus' node_exporter, *.prom"
    )
    report: str | None = Field(None, description="HTML file that shows the checks over time")


class AbConfig(Settings):
    """Settings of `flipkd ab`."""

    log: str = Field(
        description="file or folder of answers: id, version or matcher, and if possible client in each row"
    )
    outcomes: str = Field(description="file of outcomes in the order in which they came: id and outcome (0 or 1)")
    by: Literal["version", "matcher"] = Field("version", description="column of the log that distinguishes the two")
    control: str | None = Field(None, description="version to compare with; default: the first in the order of names")
    treatment: str | None = Field(None, description="version that is new; default: the other one")
    share: float = Field(0.5, gt=0, lt=1, description="intended share of the treatment among clients of both versions")
    alpha: Alpha = Field(0.05, description="probability of a false difference, however often the test is repeated")
