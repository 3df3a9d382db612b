"""The card of a matcher as its repository on the hub shows it."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flipkd.cards.matcher_card import PLACE, base_link, title
from flipkd.cards.sections import parsed_card
from flipkd.models.hub_names import hub_id

logger = logging.getLogger(__name__)
EMPTY = "---\nlibrary_name: flipkd\n---\n\n# {repository}\n"


@dataclass(frozen=True)
class CardFacts:
    """Metadata that only the publisher knows: ISO codes of the languages, license, hub ids of the training data."""

    language: Sequence[str] = ()
    license: str | None = None
    datasets: Sequence[str] = ()


def published_card(card: str, *, repository: str, trained_on: str, base_model: str, facts: CardFacts) -> str:
    """Return a card with its repository in the lines of use, the base model's hub id, and the facts that are given.

    `trained_on`: name of the base model in the contract, maybe a path, which cards of earlier versions have. Logs a warning
    for a card without a license. Raises ArtefactError for a card whose metadata cannot be read.
    """
    parsed = parsed_card(_renamed(card, repository, trained_on, base_model) or EMPTY.format(repository=repository))
    given: dict[str, Any] = {
        "base_model": hub_id(base_model),
        "base_model_relation": "adapter",
        "license": facts.license,
    }
    given |= {"language": list(facts.language), "datasets": list(facts.datasets)}
    for name, value in given.items():
        if value:
            parsed.data[name] = value
    if not parsed.data.get("license"):
        logger.warning("the card names no license, which readers of the hub look for; give --license")
    return str(parsed.content)


def _renamed(card: str, repository: str, trained_on: str, base_model: str) -> str:
    if trained_on != base_model:
        names = {make(trained_on): make(base_model) for make in (title, base_link, str)}
        names.setdefault(base_model, base_model)  # one name may be a part of the other
        longest = sorted(names, key=len, reverse=True)
        card = re.sub("|".join(map(re.escape, longest)), lambda found: names[found[0]], card)
    return card.replace(PLACE, repository)
