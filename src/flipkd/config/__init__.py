"""Settings of the commands that train: one model per command, with defaults and descriptions; `settings.py` parses them.

Names are those of transformers' TrainingArguments, peft and TRL where these have the setting.
"""

from flipkd.config.compare import CompareConfig, DemoConfig
from flipkd.config.student import StudentConfig
from flipkd.config.teach import TeachConfig
from flipkd.config.train import TrainConfig

__all__ = ["CompareConfig", "DemoConfig", "StudentConfig", "TeachConfig", "TrainConfig"]
