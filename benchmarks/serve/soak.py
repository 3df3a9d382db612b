"""A server under 1,000 clients for minutes: each answer is checked, and memory, files and threads are watched.

    python benchmarks/serve/soak.py --minutes 3

Two tiny matchers are made; the folder that is served is a link which moves from one to the other every `--reload` seconds,
followed by SIGHUP. Each client sends the next request as soon as it is answered, of 1 to 5 pairs, and hangs up before one answer
in ten. Every score must be that of the version that the answer names. Writes soak.json beside this file, prints it, and
fills the table in docs/serve.md. Exit code 1 when an answer was wrong, lost or of another status than 200, 429 and 503.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from clients import Client  # noqa: E402

PAIRS, HANG_UPS, TOLERANCE = 400, 0.1, 1e-4
WARM_UP = 10_000  # requests, after which memory must stay level
PAGE, BEGIN, END = ROOT / "docs" / "serve.md", "<!-- soak -->", "<!-- /soak -->"


def make_matchers(folder: Path) -> tuple[list[tuple[str, str]], dict[str, list[float]]]:
    """Write the matchers a and b; return the pairs, and by version the score of each."""
    from tiny import build_model, build_tokenizer, make_table, randomise, student_config

    from flipkd.files import MANIFEST, new_folder, sha256
    from flipkd.matcher import Matcher
    from flipkd.student.loading import new_student

    tokenizer = build_tokenizer()
    build_model("llama", vocabulary=len(tokenizer)).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    table = make_table(PAIRS, seed=3)
    pairs, scores = list(zip(table.left, table.right, strict=True)), {}
    for name, weight in (("a", 1.0), ("b", 0.5)):
        student, contract = new_student(student_config(folder / "base", max_text_length=64))
        with new_folder(folder / name) as temporary:
            randomise(student).save(temporary, contract.model_copy(update={"score": {"answer": weight}}))
        version = sha256(folder / name / MANIFEST)[:12]
        scores[version] = Matcher.from_pretrained(folder / name).predict(pairs).tolist()
    return pairs, scores


def measured(process: subprocess.Popen[str]) -> dict[str, float]:
    """Memory in MB, open files and threads of the server."""
    place = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
        "peak_mb": int(status["VmHWM"].split()[0]) / 1024,
        "files": len(list((place / "fd").iterdir())),
        "threads": int(status["Threads"]),
    }


class Soak:
    """The clients of one run, and what they found."""

    def __init__(self, address: tuple[str, int], pairs: list[tuple[str, str]], scores: dict[str, list[float]]) -> None:
        self.address, self.pairs, self.scores = address, pairs, scores
        self.statuses, self.versions, self.wrong = Counter[int](), Counter[str](), list[str]()
        self.served, self.seconds, self.health = Counter[int](), list[float](), list[float]()
        self.hung_up, self.resets = 0, list[str]()
        self.stop_at = 0.0

    async def client(self, number: int) -> None:
        """Send requests until the end; after it until one was answered."""
        chance, client, answered_at = random.Random(number), Client(self.address), 0.0
        while time.monotonic() < self.stop_at or not self.served[number]:
            rows = chance.sample(range(PAIRS), chance.randint(1, 5))
            body = {"pairs": [self.pairs[row] for row in rows]}
            if chance.random() < HANG_UPS:
                await client.send("/match", body)
                client.close()
                self.hung_up += 1
                continue
            fresh, idle = client.stream is None, time.monotonic() - answered_at
            try:
                reply = await client.request("/match", body)
            except (OSError, asyncio.IncompleteReadError) as error:
                client.close()
                self.resets.append(f"{type(error).__name__}, {'new' if fresh else f'idle for {idle:.1f} s'}")
                continue
            answered_at = time.monotonic()
            self.statuses[reply.status] += 1
            if reply.status == 200:
                self._check(rows, reply.json)
                self.served[number] += 1
                self.seconds.append(reply.seconds)
            else:
                await asyncio.sleep(1)
        client.close()

    def _check(self, rows: list[int], answer: dict[str, Any]) -> None:
        self.versions[answer["revision"]] += 1
        expected = [self.scores[answer["revision"]][row] for row in rows]
        got = [result["score"] for result in answer["results"]]
        if len(got) != len(expected) or any(abs(a - b) > TOLERANCE for a, b in zip(got, expected, strict=True)):
            self.wrong.append(f"{answer['revision']}: {got} for {expected}")

    async def health_checks(self) -> None:
        """Ask /healthz five times a second."""
        client = Client(self.address)
        while time.monotonic() < self.stop_at:
            self.health.append((await client.request("/healthz")).seconds)
            await asyncio.sleep(0.2)
        client.close()


async def soak(
    run: Soak, process: subprocess.Popen[str], link: Path, given: argparse.Namespace
) -> list[dict[str, float]]:
    """Run all clients; return measurements every five seconds, with the requests until then."""
    run.stop_at, found = time.monotonic() + 60 * given.minutes, list[dict[str, float]]()
    clients = [asyncio.create_task(run.client(number)) for number in range(given.clients)]
    clients.append(asyncio.create_task(run.health_checks()))
    next_reload, began = time.monotonic() + given.reload, time.monotonic()
    while time.monotonic() < run.stop_at:
        await asyncio.sleep(5)
        found.append(
            {"seconds": time.monotonic() - began, "requests": sum(run.statuses.values()), **measured(process)}
        )
        if given.reload and time.monotonic() >= next_reload:
            next_reload += given.reload
            link.with_name("new").symlink_to("b" if os.readlink(link) == "a" else "a")
            os.replace(link.with_name("new"), link)
            process.send_signal(signal.SIGHUP)
    await asyncio.gather(*clients)
    return found


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--reload", type=float, default=20.0, help="seconds between two reloads; 0: none")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 2**16 else 2**16, hard))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs, scores = make_matchers(folder)
        link = folder / "current"
        link.symlink_to("a")
        words = [sys.executable, "-m", "flipkd", "serve", "--matcher", str(link), "--port", "0", "--timeout", "120"]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(words, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True)
        while "listening on" not in (text := (folder / "log").read_text()):
            time.sleep(0.1)
        address = ("127.0.0.1", int(text.split("http://127.0.0.1:")[1].split(";")[0]))
        run = Soak(address, pairs, scores)
        try:
            asyncio.run(until_ready(address))
            series = asyncio.run(soak(run, process, link, given))
            time.sleep(2)
            after = measured(process)
            process.terminate()
            code = process.wait(60)
        finally:
            process.kill()
        text = (folder / "log").read_text()
        reloads = text.count(" replaces ")
    results = summary(run, series, after, reloads) | {
        "log": text.splitlines()[-5:],
        "exit_code": code,
        "command": shlex.join(["python", *sys.argv]),
    }
    (HERE / "soak.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(json.dumps(results, indent=2))
    sys.exit(bool(run.wrong or run.resets or set(run.statuses) - {200, 429, 503} or code))


async def until_ready(address: tuple[str, int]) -> None:
    client = Client(address)
    while (await client.request("/readyz")).status != 200:
        await asyncio.sleep(0.1)
    client.close()


def summary(run: Soak, series: list[dict[str, float]], after: dict[str, float], reloads: int) -> dict[str, Any]:
    """Numbers of a run; growth is that of the time after the warm-up."""
    warm = [row for row in series if row["requests"] >= WARM_UP] or series
    requests = warm[-1]["requests"] - warm[0]["requests"]
    growth = warm[-1]["rss_mb"] - warm[0]["rss_mb"]
    return {
        "clients": len(run.served),
        "statuses": dict(run.statuses),
        "hung_up": run.hung_up,
        "wrong_answers": len(run.wrong),
        "first_wrong": run.wrong[:3],
        "resets": run.resets,
        "versions": dict(run.versions),
        "reloads": reloads,
        "fewest_and_most_answers_of_a_client": [min(run.served.values()), max(run.served.values())],
        "seconds_p50_p99": [quantile(run.seconds, 0.5), quantile(run.seconds, 0.99)],
        "healthz_p99": quantile(run.health, 0.99),
        "rss_mb_warm_end_peak": [warm[0]["rss_mb"], warm[-1]["rss_mb"], after["peak_mb"]],
        "rss_growth_mb_per_100000_requests": growth / max(requests, 1) * 100_000,
        "threads_warm_end": [warm[0]["threads"], after["threads"]],
        "files_after_all_clients_left": after["files"],
        "series": series,
    }


def filled(page: str) -> str:
    """The page with the table of the last results between its markers."""
    found = json.loads((HERE / "soak.json").read_text(encoding="utf-8"))
    answered, memory = sum(found["statuses"].values()), found["rss_mb_warm_end_peak"]
    rows = {
        "clients, requests answered, requests given up": f"{found['clients']:,}, {answered:,}, {found['hung_up']:,}",
        "statuses": ", ".join(f"{status}: {count:,}" for status, count in found["statuses"].items()),
        "reloads under load": found["reloads"],
        "answers that were wrong or of two versions": found["wrong_answers"],
        "connections that were reset": len(found["resets"]),
        "fewest and most answers of one client": "{} and {}".format(*found["fewest_and_most_answers_of_a_client"]),
        "median and p99 of an answer, p99 of /healthz (s)": "{:.2f}, {:.2f}, {:.2f}".format(
            *found["seconds_p50_p99"], found["healthz_p99"]
        ),
        "memory after 10,000 requests, at the end, peak (MB)": "{:.0f}, {:.0f}, {:.0f}".format(*memory),
        "threads after 10,000 requests and at the end": "{} and {}".format(*found["threads_warm_end"]),
    }
    table = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
    before, rest = page.split(BEGIN)
    return "\n".join([before + BEGIN, *table, "", "```sh", found["command"], "```", END]) + rest.split(END)[1]


if __name__ == "__main__":
    main()
