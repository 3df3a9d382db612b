"""What HTTP costs: a server on one core against the same passes without it, and what it does with three times too much.

    python benchmarks/serve/load.py --matcher run/matcher --pairs benchmarks/quality/pairs/banking77_faq/test.parquet

Writes results.json beside this file and prints it. The server has core 0 and one thread, the clients core 1; `bare` is
`Matcher.predict` on core 0 over the same pairs in the same batches. Latencies are seconds, rates pairs per second; each is the
median of the turns. With three times the rate that saturates, arrivals come at their own pace whatever the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BATCH, SECONDS, TURNS, CLIENTS = 32, 5.0, 3, 64
FLOOD = 15.0
PAGE, BEGIN, END = HERE.parents[1] / "docs" / "serve.md", "<!-- load -->", "<!-- /load -->"
BARE = """
import json, statistics, sys, time
from flipkd.matcher import Matcher
matcher, pairs = Matcher.from_pretrained(sys.argv[1]), json.loads(sys.stdin.read())
for size in (1, 32):
    matcher.predict(pairs[:64], batch_size=size)
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    for start in range(0, len(pairs), 32):
        matcher.predict(pairs[start : start + 32], batch_size=32)
    rate = len(pairs) / (time.perf_counter() - began)
    single = []
    for pair in pairs[:50]:
        began = time.perf_counter()
        matcher.predict([pair], batch_size=32)
        single.append(time.perf_counter() - began)
    print(json.dumps({"rate": rate, "single": statistics.median(single)}), flush=True)
"""


def pinned(core: int, *words: str) -> list[str]:
    return ["taskset", "-c", str(core), *words]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


class Client:
    """Connections that stay open, as many as ask at once."""

    def __init__(self, port: int) -> None:
        self.port, self.idle = port, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        while self.idle and self.idle[-1][0].at_eof():  # the server closes what was idle for a while
            self.idle.pop()
        stream = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = stream
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(headers.split("content-length: ")[1].split("\r\n")[0])
        answer = await reader.readexactly(length)
        self.idle.append(stream)
        return int(headers.split()[1]), answer


def bodies(pairs: list[list[str]], size: int) -> list[bytes]:
    return [json.dumps({"pairs": pairs[start : start + size]}).encode() for start in range(0, len(pairs), size)]


async def saturated(client: Client, requests: list[bytes], *, size: int, clients: int) -> tuple[float, list[float]]:
    """(Pairs per second, latencies) of clients who send the next request as soon as one is answered."""
    latencies: list[float] = []
    stop = time.perf_counter() + SECONDS
    pace = iter(range(10**9))

    async def ask() -> None:
        while time.perf_counter() < stop:
            began = time.perf_counter()
            status, _ = await client.post("/match", requests[next(pace) % len(requests)])
            assert status == 200, status
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(clients)))
    return len(latencies) * size / (time.perf_counter() - began), latencies


async def flooded(client: Client, requests: list[bytes], *, rate: float) -> dict[str, Any]:
    """Statuses and latencies of requests that arrive `rate` a second whatever becomes of them."""
    found: list[tuple[int, float]] = []

    async def ask(body: bytes) -> None:
        began = time.perf_counter()
        status, _ = await client.post("/match", body)
        found.append((status, time.perf_counter() - began))

    start, tasks = time.perf_counter(), list[asyncio.Task[None]]()
    while (passed := time.perf_counter() - start) < FLOOD:
        while len(tasks) < passed * rate:
            tasks.append(asyncio.create_task(ask(requests[len(tasks) % len(requests)])))
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    whole = time.perf_counter() - start
    of = {status: sorted(t for s, t in found if s == status) for status in {s for s, _ in found}}
    return {
        "statuses": dict(Counter(status for status, _ in found)),
        "answered_per_second": len(of.get(200, [])) / whole,
        "p99": {status: times[int(0.99 * (len(times) - 1))] for status, times in of.items()},
    }


def start_server(words: list[str], where: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        pinned(0, sys.executable, *words), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = getattr(process, where).readline()
    port = int(line.split("http://127.0.0.1:")[1].split(";")[0])
    return process, port


async def until_ready(port: int) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        ready = b" 200 " in (await reader.read())[:20]
        writer.close()
        if ready:
            return
        await asyncio.sleep(0.1)


async def measured(port: int, pairs: list[list[str]], *, flood: bool) -> dict[str, Any]:
    await until_ready(port)
    client, single, whole = Client(port), bodies(pairs, 1), bodies(pairs, BATCH)
    for body in whole[:3]:
        await client.post("/match", body)
    alone = [statistics.median((await saturated(client, single, size=1, clients=1))[1]) for _ in range(TURNS)]
    ones = [(await saturated(client, single, size=1, clients=CLIENTS))[0] for _ in range(TURNS)]
    batches = [(await saturated(client, whole, size=BATCH, clients=4))[0] for _ in range(TURNS)]
    found: dict[str, Any] = {
        "p50_alone": statistics.median(alone),
        "rate_of_single_pairs": statistics.median(ones),
        "rate_of_32_pairs": statistics.median(batches),
    }
    if flood:
        found["flood"] = await flooded(client, single, rate=3 * found["rate_of_single_pairs"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--matcher", required=True)
    parser.add_argument("--pairs", required=True)
    given = parser.parse_args()
    from flipkd.data.pairs import read_pairs

    os.sched_setaffinity(0, {1})
    dataset = read_pairs(given.pairs)
    pairs = [list(pair) for pair in zip(dataset["text1"][:640], dataset["text2"][:640], strict=True)]
    words = pinned(0, sys.executable, "-c", BARE, given.matcher, str(TURNS))
    done = subprocess.run(
        words, input=json.dumps(pairs), env=environment(), capture_output=True, text=True, check=True
    )
    turns = [json.loads(line) for line in done.stdout.splitlines()]
    bare = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}

    null = HERE.parents[1] / "tests" / "null_server.py"
    results: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "bare": bare}
    for name, start, where, flood in (
        ("echo", [str(null), "{}"], "stdout", False),
        (
            "served",
            [
                "-m",
                "flipkd",
                "serve",
                "--matcher",
                given.matcher,
                "--port",
                "0",
                "--max_queue",
                "512",
                "--max_items",
                "64",
            ],
            "stderr",
            True,
        ),
    ):
        process, port = start_server(start, where)
        results[name] = asyncio.run(measured(port, pairs, flood=flood))
        process.terminate()
        results[name]["exit_code"] = process.wait(60)
    served, echo = results["served"], results["echo"]
    flood = served["flood"]
    results["ratios"] = {
        "pairs per second, one in a request / without HTTP": (
            served["rate_of_single_pairs"] / bare["rate"],
            "at least 0.80",
        ),
        "pairs per second, 32 in a request / without HTTP": (
            served["rate_of_32_pairs"] / bare["rate"],
            "at least 0.80",
        ),
        "requests per second, no model / with the model": (
            echo["rate_of_single_pairs"] / served["rate_of_single_pairs"],
            "at least 20",
        ),
        "median time of one client / without HTTP and 2 without a model": (
            served["p50_alone"] / (bare["single"] + 2 * echo["p50_alone"]),
            "at most 1.10",
        ),
        "answered per second in the flood / at saturation": (
            flood["answered_per_second"] / served["rate_of_single_pairs"],
            "at least 0.90",
        ),
        "p99 of a 429 in the flood / median without a model": (flood["p99"][429] / echo["p50_alone"], "at most 10"),
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_page()
    print(json.dumps(results, indent=2))


def filled(page: str) -> str:
    """The page with the table of the last results between its markers."""
    results = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    rows = [f"| {name} | {value:.2f} | {bar} |" for name, (value, bar) in results["ratios"].items()]
    table = ["| ratio | measured | asked for |", "| --- | --- | --- |", *rows, "", "```sh", results["command"], "```"]
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + "\n".join(table) + "\n" + END + rest.split(END)[1]


def write_page() -> None:
    """Put the results into docs/serve.md."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
