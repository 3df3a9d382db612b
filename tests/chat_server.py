"""A small OpenAI-compatible server on the loopback whose replies a function makes; it counts what it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace


@contextmanager
def chat_server(reply: Callable[[str], object]) -> Iterator[SimpleNamespace]:
    """Serve until the block ends; `reply(prompt)` returns the text, or a number: an HTTP status. The requests are kept."""
    seen: list[SimpleNamespace] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(SimpleNamespace(path=self.path, key=self.headers["Authorization"], body=body))
            answer = reply(body["messages"][0]["content"])
            status = answer if isinstance(answer, int) else 200
            message = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
            content = answer if isinstance(answer, bytes) else json.dumps(message).encode()
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/v1", seen=seen)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
