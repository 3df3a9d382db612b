"""push: upload a matcher folder to the Hugging Face hub."""

from __future__ import annotations

from flipkd.cards.published import CardFacts
from flipkd.command_config import PushConfig
from flipkd.publishing import push_matcher
from flipkd.student.contract import matcher_folder


def push(config: PushConfig) -> str:
    """Upload a matcher folder; return the address of the commit. Raises the errors of `publishing.push_matcher`."""
    return push_matcher(
        matcher_folder(config.matcher),
        config.repo_id,
        revision=config.revision,
        private=config.private or None,  # None: the default of the owner
        commit_message=config.commit_message,
        base_model=config.base_model,
        facts=CardFacts(config.language, config.license, config.datasets),
    )
