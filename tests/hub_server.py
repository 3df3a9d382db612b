"""A local server with the calls of huggingface_hub for models: info, tree, resolve, create, preupload, commit, validate."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

TOKEN = "hf_a_token_of_the_test"
REPOSITORY = r"(?P<repository>[\w.-]+/[\w.-]+)"
REVISION = r"(?P<revision>[^/]+)"
LICENSES = {"apache-2.0", "mit", "gemma", "other", "cc-by-4.0"}
FRONT = re.compile(r"^---\n(.*?)\n---\n", re.DOTALL)


@dataclass
class Repository:
    """Files by path of each commit, and the newest commit of each branch."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def files(self, revision: str = "main") -> dict[str, bytes] | None:
        """Return the files of a branch or commit; None for an unknown one."""
        return self.commits.get(self.branches.get(revision, revision))

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit to a branch and return its hash."""
        content = b"".join(name.encode() + data for name, data in sorted(files.items())) + bytes(len(self.commits))
        sha = hashlib.sha1(content).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        return sha


@dataclass
class Hub:
    """State of the server; `requests` holds the method and path of each request."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    validated: list[str] = field(default_factory=list)

    def add(self, repository: str, folder: Path, *, branch: str = "main", private: bool = False) -> str:
        """Add a commit with all files of a folder."""
        made = self.repositories.setdefault(repository, Repository(private=private))
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        return made.commit(files, branch)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run the server on a free port of this machine."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_hub(
    monkeypatch: pytest.MonkeyPatch, url: str, cache: Path, *, offline: bool = False, xet: bool = True
) -> None:
    """Set what HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE set when huggingface_hub is imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not xet)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@contextmanager
def hub_with(monkeypatch: pytest.MonkeyPatch, cache: Path, **models: Path) -> Iterator[Hub]:
    """Start a server with these models, by name, which huggingface_hub uses with a token."""
    with hub_server() as server:
        use_hub(monkeypatch, server.url, cache)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for name, folder in models.items():
            server.add(name, folder)
        yield server


def card_errors(content: str) -> list[str]:
    """Return what the hub would refuse in the metadata of a card: its documented rules for the fields that flipkd writes."""
    found = FRONT.match(content)
    if not found:
        return ["no metadata"]
    values = yaml.safe_load(found[1])
    errors = []
    if values.get("license") not in {None, *LICENSES}:
        errors.append(f'"license" must be one of {sorted(LICENSES)}')
    for name in ("base_model", "datasets"):
        ids = values.get(name) or []
        errors += [
            f'"{name}" with value "{one}" is not valid'
            for one in ([ids] if isinstance(ids, str) else ids)
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", one)
        ]
    languages = values.get("language") or []
    for one in [languages] if isinstance(languages, str) else languages:
        if not re.fullmatch("[a-z]{2,3}|code|multilingual", one):
            errors.append(f'"language" must be an ISO 639 code, not {one}')
    for model in values.get("model-index") or []:
        for result in model["results"]:
            if not all(isinstance(metric["value"], int | float) for metric in result["metrics"]):
                errors.append('"model-index" needs numbers')
            if not result["task"]["type"] or not result["dataset"]["type"] or not result["dataset"]["name"]:
                errors.append('"model-index" needs a task and a dataset')
    return errors


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *unused: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._route("GET", {"info": "/api/models/R", "info_at": "/api/models/R/revision/V"} | self._files())

    def do_HEAD(self) -> None:
        self._route("HEAD", self._files())

    def do_POST(self) -> None:
        routes = {"create": "/api/repos/create", "validate": "/api/validate-yaml"}
        routes |= {name: f"/api/models/R/{name}/V" for name in ("preupload", "commit", "branch")}
        self._route("POST", routes)

    @staticmethod
    def _files() -> dict[str, str]:
        return {"tree": "/api/models/R/tree/V", "resolve": "/R/resolve/V/F"}

    def _route(self, method: str, routes: dict[str, str]) -> None:
        path = urlsplit(self.path).path
        self.state.requests.append(f"{method} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        for name, pattern in routes.items():
            regex = pattern.replace("R", REPOSITORY, 1).replace("V", REVISION).replace("/F", "/(?P<file>.+)")
            if found := re.fullmatch(regex, path):
                values = {key: unquote(value) for key, value in found.groupdict().items()}
                if "repository" in values and not self._may_read(values["repository"]):
                    return self._error(401, "RepoNotFound")
                return getattr(self, f"_{name}")(**values)
        return self._error(404, "EntryNotFound")

    def _may_read(self, repository: str) -> bool:
        found = self.state.repositories.get(repository)
        return found is not None and (not found.private or self._has_token())

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _send(self, body: bytes, code: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any, code: int = 200) -> None:
        self._send(json.dumps(value).encode(), code, {"Content-Type": "application/json"})

    def _error(self, code: int, name: str) -> None:
        self._send(b"{}", code, {"X-Error-Code": name, "X-Error-Message": name, "Content-Type": "application/json"})

    def _info(self, repository: str) -> None:
        self._info_at(repository, "main")

    def _info_at(self, repository: str, revision: str) -> None:
        found = self.state.repositories[repository]
        sha = found.branches.get(revision, revision)
        if revision != "main" and sha not in found.commits:
            return self._error(404, "RevisionNotFound")
        siblings = [{"rfilename": name} for name in found.files(revision) or {}]
        return self._json({"id": repository, "sha": sha, "private": found.private, "siblings": siblings, "tags": []})

    def _tree(self, repository: str, revision: str) -> None:
        files = self.state.repositories[repository].files(revision) or {}
        rows = [{"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in files.items()]
        self._json(rows)

    def _resolve(self, repository: str, revision: str, file: str) -> None:
        found = self.state.repositories[repository]
        files = found.files(revision) or {}
        if file not in files:
            return self._error(404, "EntryNotFound")
        headers = {"X-Repo-Commit": found.branches.get(revision, revision), "ETag": f'"{_oid(files[file])}"'}
        return self._send(files[file], 200, headers)

    def _create(self) -> None:
        body = json.loads(self.body)
        name = f"{body['organization']}/{body['name']}"
        if not self._has_token():
            return self._error(401, "Unauthorized")
        if name in self.state.repositories:
            return self._json({"url": f"{self.state.url}/{name}"}, 409)
        repository = self.state.repositories[name] = Repository(private=body.get("visibility") == "private")
        repository.commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._json({"url": f"{self.state.url}/{name}"})

    def _validate(self) -> None:
        content = json.loads(self.body)["content"]
        self.state.validated.append(content)
        if errors := card_errors(content):
            return self._json({"errors": [{"message": error} for error in errors], "warnings": []}, 400)
        return self._json({"errors": [], "warnings": []})

    def _branch(self, repository: str, revision: str) -> None:
        branches = self.state.repositories[repository].branches
        if revision in branches:
            return self._json({}, 409)
        branches[revision] = branches["main"]
        return self._json({})

    def _preupload(self, repository: str, revision: str) -> None:
        files = json.loads(self.body)["files"]
        self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})

    def _commit(self, repository: str, revision: str) -> None:
        if not self._has_token():
            return self._error(403, "Forbidden")
        found = self.state.repositories[repository]
        files = dict(found.files(revision) or {})
        for line in self.body.splitlines():
            row = json.loads(line)
            if row["key"] == "header":
                found.messages.append(row["value"]["summary"])
            elif row["key"] == "file":
                files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            else:
                assert row["key"] == "deletedFile", row
                del files[row["value"]["path"]]
        sha = found.commit(files, revision)
        return self._json({"commitUrl": f"{self.state.url}/{repository}/commit/{sha}", "commitOid": sha})


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
