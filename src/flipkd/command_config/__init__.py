"""Settings of the commands that check pairs or use a matcher; those of the commands that train are in `config`."""

from flipkd.command_config.data import CheckConfig, SplitConfig
from flipkd.command_config.demo import DemoConfig
from flipkd.command_config.matching import CalibrateConfig, EvaluateConfig, MatchConfig
from flipkd.command_config.publishing import ExportConfig, PushConfig, VerifyConfig
from flipkd.command_config.searching import (
    IndexAddConfig,
    IndexCompactConfig,
    IndexConfig,
    IndexDeleteConfig,
    IndexListConfig,
    IndexRollbackConfig,
    IndexVersionsConfig,
    SearchConfig,
)
from flipkd.command_config.serving import ServeConfig

__all__ = [
    "CalibrateConfig",
    "CheckConfig",
    "DemoConfig",
    "EvaluateConfig",
    "ExportConfig",
    "IndexAddConfig",
    "IndexCompactConfig",
    "IndexConfig",
    "IndexDeleteConfig",
    "IndexListConfig",
    "IndexRollbackConfig",
    "IndexVersionsConfig",
    "MatchConfig",
    "PushConfig",
    "SearchConfig",
    "ServeConfig",
    "SplitConfig",
    "VerifyConfig",
]
