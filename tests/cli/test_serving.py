"""serve on the command line: starts that are refused before anything is loaded, and the defaults."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
from command_line import flipkd

from flipkd.command_config import ServeConfig
from flipkd.commands.serve import LIMITS
from flipkd.serve.limits import Limits


@pytest.mark.scenario("S14", "X11")
def test_bad_starts_are_refused_before_anything_is_loaded(trained, tmp_path):
    start = ("serve", "--matcher", trained, "--port", 0)
    open_to_all = flipkd(*start, "--host", "0.0.0.0")
    assert open_to_all.code == 7
    assert "--api_key_file" in open_to_all.err
    nowhere = flipkd("serve", "--matcher", tmp_path / "nowhere")
    assert (nowhere.code, "no such folder" in nowhere.err) == (4, True)
    for content, word in (("short", "at least 16"), ("two words " * 4, "holds no key"), (None, "cannot be read")):
        key = tmp_path / "key"
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_text(content)
        refused = flipkd(*start, "--api_key_file", key)
        assert refused.code == 4
        assert word in refused.err
    elsewhere = flipkd(*start, "--host", "no.such.host.invalid", "--insecure")
    assert elsewhere.code == 2
    assert "host no.such.host.invalid is not an address of this machine" in elsewhere.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = flipkd("serve", "--matcher", trained, "--port", taken.getsockname()[1])
        assert busy.code == 5
        assert f"cannot listen on 127.0.0.1 port {taken.getsockname()[1]}" in busy.err
        assert "choose another --port" in busy.err


def test_without_the_extra_it_says_what_to_install(trained):
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from flipkd.cli import main\n"
        f"sys.argv = ['flipkd', 'serve', '--matcher', {json.dumps(str(trained))}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "flipkd[serve]" in done.stderr


def test_the_command_line_has_the_same_defaults():
    limits = Limits()
    for name in LIMITS:
        assert ServeConfig.model_fields[name].default == getattr(limits, name), name
