"""Settings of the commands that check pairs or use a matcher; those of the commands that train are in `config`."""

from flipkd.command_config.data import (
    CheckConfig,
    EnrichConfig,
    GenerateConfig,
    PropagateConfig,
    SelectConfig,
    SplitConfig,
    WeakPairsConfig,
)
from flipkd.command_config.entities import CandidatesConfig, DedupeConfig
from flipkd.command_config.matching import CalibrateConfig, EvaluateConfig, MatchConfig
from flipkd.command_config.measuring import DiagnoseConfig, RetrievalConfig, RetrievalSetConfig
from flipkd.command_config.publishing import ExportConfig, PushConfig, VerifyConfig
from flipkd.command_config.reviewing import (
    ReviewExportConfig,
    ReviewImportConfig,
    ReviewListConfig,
    ReviewPairsConfig,
    ReviewStatsConfig,
)
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
from flipkd.command_config.watching import AbConfig, WatchConfig

__all__ = [
    "AbConfig",
    "CalibrateConfig",
    "CandidatesConfig",
    "CheckConfig",
    "DedupeConfig",
    "DiagnoseConfig",
    "EnrichConfig",
    "EvaluateConfig",
    "ExportConfig",
    "GenerateConfig",
    "IndexAddConfig",
    "IndexCompactConfig",
    "IndexConfig",
    "IndexDeleteConfig",
    "IndexListConfig",
    "IndexRollbackConfig",
    "IndexVersionsConfig",
    "MatchConfig",
    "PropagateConfig",
    "PushConfig",
    "RetrievalConfig",
    "RetrievalSetConfig",
    "ReviewExportConfig",
    "ReviewImportConfig",
    "ReviewListConfig",
    "ReviewPairsConfig",
    "ReviewStatsConfig",
    "SearchConfig",
    "SelectConfig",
    "ServeConfig",
    "SplitConfig",
    "VerifyConfig",
    "WatchConfig",
    "WeakPairsConfig",
]
