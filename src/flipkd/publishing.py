"""Upload of a matcher folder to the hub, without anything of this machine in its files."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from flipkd.cards.published import CardFacts, published_card
from flipkd.cards.sections import read_card
from flipkd.errors import ArtefactError, ConfigError, UsageError
from flipkd.files import CARD, MANIFEST, check_manifest, copy_listed, read_json, write_manifest, write_text
from flipkd.hub import is_matcher_file, is_repository, repository_of, upload_matcher
from flipkd.models.hub_names import PACKAGED, hub_id
from flipkd.student.adapter import base_of, name_base
from flipkd.student.contract import ScoreContract, read_contract, require_contract

logger = logging.getLogger(__name__)

NO_FACTS = CardFacts()


def push_matcher(
    folder: Path,
    repository: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
    base_model: str | None = None,
    facts: CardFacts = NO_FACTS,
) -> str:
    """Upload the matcher in `folder` to a repository of the hub, creating it if needed; return the address of the commit.

    Only the files of its manifest are uploaded. `base_model`: hub id of the base model; `facts`: for the card. Raises
    ConfigError when the base model is a folder and no hub id is given, ArtefactError for a damaged folder or one with other
    files, and the errors of `hub.upload_matcher`.
    """
    require_contract(folder)
    check_manifest(folder)
    contract = read_contract(folder)
    base = _hub_base(folder, contract, base_model)
    if foreign := [name for name in read_json(folder / MANIFEST)["files"] if not is_matcher_file(name)]:
        raise ArtefactError(
            f"{folder}: its manifest lists {foreign[0]}, which is no file of a matcher; push a folder as flipkd wrote it"
        )
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch)
        _copy_with_base(folder, copied, contract, base)
        card = read_card(folder)
        names = {"trained_on": contract.base_model_name_or_path, "base_model": base}
        write_text(copied / CARD, published_card(card, repository=repository, facts=facts, **names))
        return upload_matcher(
            copied,
            repository,
            revision=revision,
            private=private,
            token=token,
            message=commit_message,
        )


def _hub_base(folder: Path, contract: ScoreContract, given: str | None) -> str:
    """Return the name under which other machines find the base model."""
    name = contract.base_model_name_or_path
    if given is not None:
        if not is_repository(given) and given not in PACKAGED:
            raise UsageError(f"base_model is {given}; it must be the id of a model of the hub, OWNER/NAME")
        if Path(given).is_dir():
            logger.warning(
                "base_model %s is also a folder here; others will download the hub's model of that name", given
            )
        return given
    found = name if not Path(name).is_dir() and hub_id(name) else repository_of(Path(name))
    if found is None:
        raise ConfigError(
            f"{folder}: its base model is the folder {name}, which other machines do not have; give its id on the hub: "
            "--base_model OWNER/NAME"
        )
    return found


def _copy_with_base(folder: Path, target: Path, contract: ScoreContract, base: str) -> None:
    """Copy a matcher, and name its base model `base`; the manifest stays the same where the names do."""
    copy_listed(folder, target)
    write_text(target / MANIFEST, (folder / MANIFEST).read_text(encoding="utf-8"))
    if (contract.base_model_name_or_path, base_of(target)) != (base, hub_id(base)):
        contract.model_copy(update={"base_model_name_or_path": base}).save(target)
        name_base(target, hub_id(base))
        write_manifest(target)
