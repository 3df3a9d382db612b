"""The Hugging Face hub: which names are its ids, and the download and the upload of a matcher's files, without any code."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from flipkd.errors import (
    ArtefactError,
    ConfigError,
    FlipkdError,
    RefusedError,
    ResourceError,
    UsageError,
    is_disk_full,
    reason_of,
    shorten,
)
from flipkd.files import CARD, MANIFEST
from flipkd.progress import logger

MATCHER = "matcher.json"
TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
# All files that a matcher may have; in such a pattern * also matches a slash. None is run or unpickled, and none has pairs.
MATCHER_FILES = (
    *(MATCHER, MANIFEST, CARD, "readout.safetensors"),
    *("adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
    *(f"tokenizer/{name}" for name in TEXT_FILES),
    *(f"teacher/{name}" for name in (*TEXT_FILES, "*.safetensors")),
)
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
NO_ACCESS = (401, 403, 404)
LOGIN = "log in with hf auth login, or set HF_TOKEN"


def is_repository(name: str) -> bool:
    """Return whether a name has the form OWNER/NAME of a repository of the hub."""
    return REPOSITORY.fullmatch(name) is not None


def is_dataset(path: str) -> bool:
    """Return whether a file of pairs is a data set of the hub, OWNER/NAME or OWNER/NAME:SPLIT, and not a file here."""
    return is_repository(path.partition(":")[0]) and not Path(path).exists()


def is_matcher_file(path: str) -> bool:
    """Return whether a path in a matcher folder is one of MATCHER_FILES."""
    return any(fnmatchcase(path, pattern) for pattern in MATCHER_FILES)


def repository_of(folder: Path) -> str | None:
    """Return the id of the repository whose snapshot a folder in the cache of huggingface_hub is; None for other folders."""
    storage, snapshots = ["", "", "", *folder.parts][-3:-1]
    if snapshots != "snapshots" or not storage.startswith("models--"):
        return None
    return storage.removeprefix("models--").replace("--", "/")


def download_matcher(repository: str, *, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Download the files of a matcher from the hub, or find them in its cache; return the folder.

    Raises ArtefactError for a repository or revision that does not exist or holds no matcher, ResourceError when the hub
    cannot be reached or the disk is full.
    """
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(repository, revision=revision, token=token, allow_patterns=list(MATCHER_FILES))
    except Exception as error:
        raise _download_error(repository, error, revision=revision) from error
    folder = Path(found)
    if not (folder / MATCHER).is_file():
        raise ArtefactError(
            f"{repository}: this repository of the hub holds no {MATCHER}; give one that flipkd push has made"
        )
    # A misspelt path may name somebody's repository.
    logger.info("%s: revision %s of the hub", repository, folder.name)
    return folder


def upload_matcher(
    folder: Path,
    repository: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    message: str | None = None,
) -> str:
    """Upload the files of a matcher to a repository, which is created if it does not exist; return the address of the commit.

    Files of an earlier matcher that this one does not have are deleted there. Raises UsageError for an invalid id,
    RefusedError when `private` is true and the repository is public, ArtefactError without the right to write and for a card
    that the hub refuses, ResourceError when the hub cannot be reached.
    """
    from huggingface_hub import HfApi, ModelCard

    if not is_repository(repository):
        raise UsageError(f"{repository}: not the id of a repository of the hub; write OWNER/NAME")
    hub = HfApi(token=token)
    try:
        try:
            ModelCard.load(folder / CARD).validate()
        except ValueError as error:
            raise ArtefactError(
                f"{CARD}: the hub refuses this card ({reason_of(error)}); correct it, or --license, --language and "
                "--datasets, whose values push writes into it"
            ) from error
        hub.create_repo(repository, private=private, exist_ok=True)
        if private and not hub.model_info(repository).private:
            raise RefusedError(f"{repository}: exists and is public; make it private on the hub, or leave out private")
        if revision is not None:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            commit_message=message or "Upload a matcher of flipkd",
            allow_patterns=list(MATCHER_FILES),
            delete_patterns=list(MATCHER_FILES),
        )
    except Exception as error:
        raise _upload_error(repository, error) from error
    return str(commit.commit_url)


def _download_error(repository: str, error: Exception, *, revision: str | None) -> FlipkdError:
    """Return the error of flipkd for an exception of a download; one of flipkd stays as it is."""
    from huggingface_hub import constants, errors

    if isinstance(error, FlipkdError):
        return error
    if is_disk_full(error):
        return ResourceError(f"{repository}: the disk is full; free some space, then run the same command")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled) and constants.HF_HUB_OFFLINE:
        return ArtefactError(
            f"{repository}: no such folder, and HF_HUB_OFFLINE forbids a download from the hub; correct the path, or unset "
            "HF_HUB_OFFLINE"
        )
    if isinstance(error, errors.GatedRepoError):
        return ArtefactError(
            f"{repository}: the hub asks you to accept conditions first; accept them on its page, then {LOGIN}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ArtefactError(
            f"{repository}: this repository of the hub has no revision {shorten(revision)}; give a branch, a tag or a commit"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or _status(error) in NO_ACCESS:
        return ArtefactError(
            f"{repository}: neither a folder on this machine nor a repository of the hub that you may use; correct the "
            f"name, or {LOGIN} if it is private"
        )
    if isinstance(error, errors.HFValidationError):
        return ArtefactError(
            f"{repository}: neither a folder on this machine nor a valid id of the hub ({reason_of(error)}); correct the name"
        )
    return ResourceError(
        f"{repository}: no folder of this name, and the hub does not answer ({reason_of(error)}); correct the name, or run the "
        "same command later"
    )


def _upload_error(repository: str, error: Exception) -> FlipkdError:
    """Return the error of flipkd for an exception of an upload; one of flipkd stays as it is."""
    from huggingface_hub import errors

    if isinstance(error, FlipkdError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ConfigError(f"{repository}: HF_HUB_OFFLINE is set, which forbids an upload to the hub; unset it")
    if isinstance(error, errors.RepositoryNotFoundError) or _status(error) in NO_ACCESS:
        return ArtefactError(
            f"{repository}: the hub does not let you write this repository; correct the name, or {LOGIN}"
        )
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"{repository}: not a valid id of the hub ({reason_of(error)}); correct it")
    return ResourceError(f"{repository}: the upload failed, and the same command repeats it ({reason_of(error)})")


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
