"""What units of a comparison have left so far, as one archive and one summary."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from flipkd.files import write_bytes, write_json

LAST_LINES = 12
LOG_BYTES = 20_000  # of the end of each log, in the archive
FIGURES = ("f1", "average_precision")


def collect(work_dir: Path, output_dir: Path, names: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write `quality.tar.gz` and `quality.json` from the result files under `work_dir` that are among `names`."""
    found = {path.stem: path for path in sorted(work_dir.glob("*/results/*.json")) if path.stem in names}
    results = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items()}
    write_bytes(output_dir / "quality.tar.gz", archive(found, sorted(work_dir.glob("*.log"))))
    units = {name: unit_summary(result) for name, result in results.items()}
    missing = [name for name in names if name not in units]
    write_json(output_dir / "quality.json", {**about, "sets": by_set(units), "units": units, "missing": missing})


def archive(results: Mapping[str, Path], logs: Sequence[Path]) -> bytes:
    """A tar.gz of results/, scores/ and logs/."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, path in results.items():
            scores = path.parents[1] / "scores" / f"{name}.safetensors"
            for folder, file in (("results", path), ("scores", scores)):
                _add(tar, f"{folder}/{file.name}", file.read_bytes())
        for log in logs:
            _add(tar, f"logs/{log.name}", log.read_bytes()[-LOG_BYTES:])
    return target.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def unit_summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a unit is, and its figures on test."""
    told = {name: result[name] for name in ("data", "name", "seed", "seconds", "peak_memory_bytes")}
    return told | {name: result["metrics"]["test"][name] for name in FIGURES}


def by_set(units: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Set -> system -> means over the seeds that are there, and which they are."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for unit in units.values():
        groups.setdefault((unit["data"], unit["name"]), []).append(unit)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (data, name), of_seeds in sorted(groups.items()):
        means = {figure: mean(unit[figure] for unit in of_seeds) for figure in FIGURES}
        found.setdefault(data, {})[name] = means | {"seeds": sorted(unit["seed"] for unit in of_seeds)}
    return found


def last_lines(log: Path) -> str:
    """The end of what a process said."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-LAST_LINES:])
