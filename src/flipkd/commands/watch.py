"""watch: compare newly scored pairs with a reference, and raise an alarm at a stated rate of false alarms."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from flipkd import progress
from flipkd.command_config import WatchConfig
from flipkd.commands.results import REPORT, require_writable, text_table
from flipkd.commands.watched_rows import Window, read_reference, read_windows
from flipkd.errors import DriftError
from flipkd.extras import require_extra
from flipkd.files import write_bytes, write_json, write_text
from flipkd.watch.differences import MANY_ROWS, RESAMPLES
from flipkd.watch.drift import LEAST_EFFECTS, LEAST_ROWS, Check, Embed, compare, judge
from flipkd.watch.gauges import gauges
from flipkd.watch.label_quality import label_quality
from flipkd.watch.rows import ScoredRows
from flipkd.watch.texts import main_script, shares

logger = logging.getLogger(__name__)
MOST_RESAMPLES = 99_999
RESAMPLED = ("calibration", "overconfidence")
SCRIPT_ROWS = 5000  # rows whose scripts are listed


def watch(config: WatchConfig) -> dict[str, Any]:
    """Return the checks of each window against the reference; `alarms` has the names of those that are alarms.

    `output`, `prometheus` and `report` are written. Raises DataError for files that cannot be compared, ConfigError without
    the extra that `prometheus` or `report` needs.
    """
    _require_outputs(config)
    reference = read_reference(config)
    windows = read_windows(config)
    embed = None if config.teacher is None else _cached_embedding(config.teacher)
    checks, resamples = [], _resamples(config, len(windows))
    with progress.bar(len(windows), "windows", unit="window") as bar:
        for window in windows:
            checks.append(compare(reference, window.rows, embed=embed, sample=config.sample, resamples=resamples))
            bar.update(1)
    if config.alarms == "any":
        warn_of_least_p(checks, alpha=config.alpha, resamples=resamples)
    judged = judge(checks, alpha=config.alpha, together=config.alarms == "any", least_effects=config.least_effects)
    result = _result(config, reference, windows, judged)
    if config.output:
        write_json(config.output, result)
    if config.prometheus:
        write_bytes(config.prometheus, gauges(result))
    if config.report:
        from flipkd.report.watch import render

        write_text(config.report, render(result))
    return result


def require_no_drift(result: dict[str, Any]) -> None:
    """Raise DriftError when the result has an alarm."""
    if result["alarms"]:
        shown = ", ".join(f"{alarm['check']} ({alarm['window']})" for alarm in result["alarms"][:5])
        more = f" and {len(result['alarms']) - 5} more" if len(result["alarms"]) > 5 else ""
        raise DriftError(
            f"the log differs from the reference: {shown}{more}; look at these pairs, label some, and calibrate or train again"
        )


def _require_outputs(config: WatchConfig) -> None:
    marks = ((config.output, '"windows"'), (config.prometheus, "flipkd_watch"), (config.report, REPORT))
    for path, mark in marks:
        if path:
            require_writable(path, source=config.reference, mark=mark)
    if config.prometheus:
        require_extra("serve", user="--prometheus")
    if config.report:
        require_extra("report", user="the report")


def _resamples(config: WatchConfig, windows: int) -> int:
    """Return as many resamples as the smallest p value that must be reached needs, within bounds."""
    family = len(LEAST_EFFECTS) * (windows if config.alarms == "any" else 1)
    return min(MOST_RESAMPLES, max(RESAMPLES, math.ceil(4 * family / config.alpha)))


def warn_of_least_p(windows: Sequence[Sequence[Check]], *, alpha: float, resamples: int) -> None:
    """Log a warning when the least p value of the resampled checks is above `alpha` after a correction for these checks."""
    found = [check for checks in windows for check in checks]
    least = 2 / (resamples + 1)
    if len(found) * least > alpha and any(check.name in RESAMPLED for check in found):
        logger.warning(
            "%d windows have %d checks: %s of fewer than %d labels have p values of at least %.1g, by resampling, so that none "
            "of them can be an alarm alone; use --alarms last, fewer windows or a larger --alpha",
            len(windows),
            len(found),
            " and ".join(RESAMPLED),
            MANY_ROWS,
            least,
        )


def _cached_embedding(folder: str) -> Embed:
    """Return the teacher's embedding, which computes each text once; the folder of the teacher is not changed."""
    progress.loading(folder)
    from flipkd.teachers.stored_teacher import StoredTeacher

    teacher = StoredTeacher(folder)
    teacher.require_vectors()
    model, known = teacher.model(), dict[str, Any]()

    def embed(texts: Sequence[str]) -> np.ndarray:
        if missing := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(missing, model.embed(missing), strict=True))
        return np.stack([known[text] for text in texts]) if texts else np.zeros((0, 1), np.float32)

    return embed


def _result(
    config: WatchConfig, reference: ScoredRows, windows: Sequence[Window], judged: Sequence[list[Check]]
) -> dict[str, Any]:
    last = len(windows) - 1
    alarms = [
        {"window": window.name, "check": check.name}
        for number, (window, checks) in enumerate(zip(windows, judged, strict=True))
        for check in checks
        if check.alarm and (config.alarms == "any" or number == last)
    ]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "alpha": config.alpha,
        "judged": config.alarms,
        "reference": {"file": config.reference, **_described(reference)},
        "windows": [
            {"name": window.name, **_described(window.rows), "checks": [vars(check) for check in checks]}
            for window, checks in zip(windows, judged, strict=True)
        ],
        "alarms": alarms,
    }


def _described(rows: ScoredRows) -> dict[str, Any]:
    """Return the size, the scripts of the texts and the quality on labels."""
    some = rows.sample(SCRIPT_ROWS)
    texts = [*(some.text1 or ()), *(some.text2 or ())]
    return {
        "rows": len(rows),
        "scripts": shares([main_script(text) for text in texts]) if texts else None,
        "labels": label_quality(rows),
    }


def watch_text(result: dict[str, Any]) -> str:
    """Return a table of the checks of the last window, and one line for each earlier window."""
    *earlier, last = result["windows"]
    lines = [f"{window['name']}: {window['rows']} rows, {_alarms_text(window)}" for window in earlier]
    lines += [f"{last['name']}: {last['rows']} rows, compared with {result['reference']['rows']} of the reference", ""]
    figure: Callable[[float], str] = "{:.3f}".format
    rows = [
        [
            check["name"],
            *(figure(check[name]) for name in ("reference", "window", "effect")),
            f"{check['p_adjusted']:.2g}",
            "ALARM" if check["alarm"] else "",
        ]
        for check in last["checks"]
    ]
    lines.append(text_table(["check", "reference", "window", "effect", "p (Holm)", "alarm"], rows))
    absent = [name for name in LEAST_EFFECTS if name not in {check["name"] for check in last["checks"]}]
    if absent:
        lines += ["", f"not checked, because columns or rows are missing (at least {LEAST_ROWS}): {', '.join(absent)}"]
    if quality := last["labels"]:
        low, high = quality["ece_interval"]
        below, above = quality["brier_interval"]
        lines += [
            "",
            f"{quality['rows']} labels: ECE {quality['ece']:.3f} ({low:.3f} to {high:.3f}), Brier score "
            f"{quality['brier_score']:.3f} ({below:.3f} to {above:.3f})",
        ]
    return "\n".join(lines)


def _alarms_text(window: dict[str, Any]) -> str:
    names = [check["name"] for check in window["checks"] if check["alarm"]]
    return f"differs: {', '.join(names)}" if names else "no difference"
