"""The container file: two stages, a user without rights, a health check of a real route, no secret; it is not built here."""

from __future__ import annotations

import json
import re
from pathlib import Path

from flipkd.command_config import ServeConfig
from flipkd.serve.request_guard import HEALTH_PATHS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def values(instruction: str) -> list[str]:
    return [line.split(None, 1)[1] for line in LINES if line.startswith(f"{instruction} ")]


def test_containerfile_has_two_stages_and_the_second_copies_only_the_environment():
    first, second = values("FROM")
    assert first.endswith(" AS build")
    assert "AS" not in second
    last = LINES[LINES.index(f"FROM {second}") :]
    assert [line for line in last if line.startswith(("COPY", "ADD"))] == ["COPY --from=build /opt/flipkd /opt/flipkd"]


def test_containerfile_runs_as_a_user_without_rights():
    [user] = values("USER")
    assert int(user) > 0
    assert f"useradd --uid {user} " in TEXT
    assert LINES.index(f"USER {user}") < next(i for i, line in enumerate(LINES) if line.startswith("ENTRYPOINT"))


def test_containerfile_gives_the_user_the_folder_of_the_cache_volume():
    page = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
    [folder] = re.findall(r"--volume flipkd-cache:(\S+)", page)
    name = re.search(r"useradd .* (\w+) &&", TEXT)[1]
    assert f"install --directory --owner {name} {folder}" in TEXT


def test_containerfile_takes_torch_alone_from_its_index():
    [line] = [line for line in TEXT.splitlines() if "--index-url" in line]
    assert "--no-deps" in line
    assert line.endswith(" torch \\")


def test_containerfile_copies_named_files_that_exist_and_holds_no_secret():
    copied = [word for line in values("COPY") if not line.startswith("--from") for word in line.split()[:-1]]
    assert "." not in copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert not re.search(r"^(ENV|ARG).*(TOKEN|KEY|SECRET|PASSWORD)", TEXT, re.MULTILINE)


def test_containerfile_command_is_one_that_serve_accepts():
    words = json.loads(values("ENTRYPOINT")[0]) + json.loads(values("CMD")[0])
    assert words[:2] == ["flipkd", "serve"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    config = ServeConfig.check({name.removeprefix("--"): value for name, value in options.items()})
    assert (config.host, config.port, config.insecure) == ("0.0.0.0", 8000, False)
    assert config.api_key_file is not None
    assert values("EXPOSE") == [str(config.port)]
    [check] = values("HEALTHCHECK")
    path = re.search(rf"http://127\.0\.0\.1:{config.port}(/\w+)'", check)[1]
    assert path in HEALTH_PATHS
