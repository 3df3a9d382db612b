"""Settings of the demo."""

from __future__ import annotations

from pydantic import Field

from flipkd.setting_fields import Seed
from flipkd.settings import Settings


class DemoConfig(Settings):
    """Settings of `flipkd demo`."""

    output_dir: str = Field("demo", description="output folder for data, runs and results")
    seed: Seed = 0
