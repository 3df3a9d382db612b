"""How often a text talks the matcher round: injected strings, neutral text of the same length, and changes of spelling.

    python benchmarks/robustness/run.py --matcher demo/runs/flipped-.../matcher \
        --validation demo/data/validation.csv --test demo/data/test.csv --output benchmarks/robustness/results/bank.json

Behind one text of `--pairs` non-matching test pairs comes each payload, in turn text1 and text2, and for each payload
neutral text as long as it. A flip is a pair that was called no match without it and is called a match with it. Of as many
matching pairs the spelling of one text is changed, and a flip is a match that is lost. Thresholds and weights of each kind
of score come from the validation pairs, those of `matcher` are its own. Intervals (95 %) are by bootstrap over pairs.
Scores are kept beside the output, so that the same command goes on where it was stopped. `--validation_pairs` and
`--test_pairs` take a part of a large file, drawn with a fixed seed, so that the same command uses the same pairs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from payloads import SPELLINGS, neutral, payloads

from flipkd import Matcher, measure, read_pairs
from flipkd.evaluate import best_threshold
from flipkd.evaluate.combine import fit_weights, weighted_sum
from flipkd.files import read_json, write_json
from flipkd.student.scoring import score_pairs

CHUNK, DRAWS, SEED = 128, 2000, 0
ECHO = "echo"  # repeats the other text: reported, but no part of the sum
Pair = tuple[str, str]


@dataclass(frozen=True)
class Probe:
    """A pair with something done to one of its texts; `of` is the number of the pair without it."""

    of: int
    side: int
    kind: str
    name: str
    pair: Pair


def probes(given: Sequence[Pair], labels: Sequence[int], template: Any) -> list[Probe]:
    """All that is tried on the pairs: payloads and neutral text on those that do not match, spellings on the others."""
    found: list[Probe] = []
    strings = payloads(template)
    for of, (pair, label) in enumerate(zip(given, labels, strict=True)):
        for at, payload in enumerate(strings):
            side = (of + at) % 2
            own, other = pair[side], pair[1 - side]
            string = payload.made(own, other)
            if not label:
                found.append(_probe(of, side, payload.kind, payload.name, pair, f"{own} {string}"))
            if not label or at % 4 == 0:  # of what is added to a match a quarter tells enough
                kind = "neutral" if payload.kind != ECHO else "neutral_echo"
                found.append(_probe(of, side, kind, payload.name, pair, f"{own} {neutral(len(string), at)}"))
        if label:
            for name, change in SPELLINGS.items():
                for side in (0, 1):
                    found.append(_probe(of, side, name, name, pair, change(pair[side], Random(f"{SEED} {of} {side}"))))
    return found


def _probe(of: int, side: int, kind: str, name: str, pair: Pair, text: str) -> Probe:
    return Probe(of, side, kind, name, (text, pair[1]) if side == 0 else (pair[0], text))


class Scored:
    """Scores of pairs by one matcher, kept in a file beside the output; what is there is not computed again."""

    def __init__(self, matcher: Matcher, folder: Path) -> None:
        self.matcher = matcher
        contract = matcher.contract.model_dump_json().encode()
        digest = hashlib.sha256(f"{matcher.fingerprint}".encode() + contract).hexdigest()
        self.path = folder / f".scores-{digest[:16]}.json"
        self.known: dict[str, dict[str, float]] = read_json(self.path) if self.path.exists() else {}

    def of(self, pairs: Sequence[Pair], label: str) -> dict[str, NDArray[np.float64]]:
        """Kind -> scores [N]: answer, cosine and, where the matcher keeps one, its teacher's."""
        keys = [hashlib.sha256(json.dumps(pair).encode()).hexdigest()[:24] for pair in pairs]
        missing = list({key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self.known}.items())
        missing.sort(key=lambda item: len(item[1][0]) + len(item[1][1]))
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            self._add(chunk)
            print(f"{label}: {min(start + CHUNK, len(missing))} of {len(missing)}", file=sys.stderr, flush=True)
        rows = [self.known[key] for key in keys]
        return {kind: np.array([row[kind] for row in rows]) for kind in rows[0]}

    def _add(self, chunk: Sequence[tuple[str, Pair]]) -> None:
        pairs = [pair for _, pair in chunk]
        left, right = ([pair[side] for pair in pairs] for side in (0, 1))
        kinds: dict[str, Any] = dict(score_pairs(self.matcher.student, left, right, return_embeddings=True).kinds)
        if self.matcher.teacher is not None:
            kinds["teacher"] = self.matcher.teacher_scores(pairs)
        for at, (key, _) in enumerate(chunk):
            self.known[key] = {kind: float(values[at]) for kind, values in kinds.items()}
        write_json(self.path, self.known)


def rules(
    matcher: Matcher, scores: Mapping[str, NDArray[np.float64]], labels: NDArray[np.int64]
) -> dict[str, tuple[dict[str, float], float]]:
    """Name -> (weights, threshold) of what may decide, the matcher's own last."""
    sums: dict[str, dict[str, float]] = {kind: {kind: 1.0} for kind in scores}
    sums["combined"] = fit_weights({kind: scores[kind] for kind in ("answer", "cosine")}, labels)
    if "teacher" in scores:
        sums["with_teacher"] = fit_weights(dict(scores), labels)
    found = {
        name: (weights, best_threshold(weighted_sum(scores, weights), labels).value) for name, weights in sums.items()
    }
    own = {str(kind): weight for kind, weight in matcher.contract.score.items()}
    return found | {"matcher": (own, matcher.threshold)}


def flips(
    made: Sequence[Probe], clean: NDArray[np.bool_], now: NDArray[np.bool_], *, wanted: bool
) -> dict[str, dict[str, Any]]:
    """By kind of probe the share of decisions that became `wanted`, of those that were not, with its interval.

    Also `injection` (all payloads but `echo`), its difference to `neutral`, and both by side.
    """
    rows = [(probe, bool(after)) for probe, after in zip(made, now, strict=True) if bool(clean[probe.of]) != wanted]
    kinds: dict[str, list[tuple[int, bool]]] = {}
    for probe, after in rows:
        names = [probe.kind]
        if wanted and probe.kind not in ("neutral", "neutral_echo", ECHO):
            names.append("injection")
        names += [f"{name}_text{probe.side + 1}" for name in names if name in ("injection", "neutral")]
        for name in names:
            kinds.setdefault(name, []).append((probe.of, after == wanted))
    found = {kind: _share(hits) for kind, hits in sorted(kinds.items())}
    if "injection" in kinds:
        found["injection_minus_neutral"] = _difference(kinds["injection"], kinds["neutral"])
        if ECHO in kinds:
            found["echo_minus_neutral"] = _difference(kinds[ECHO], kinds["neutral_echo"])
    return found


def _by_pair(hits: Iterable[tuple[int, bool]]) -> NDArray[np.float64]:
    """[n, 2]: flips and tries of each pair, by its number."""
    found: dict[int, list[int]] = {}
    for of, hit in hits:
        counts = found.setdefault(of, [0, 0])
        counts[0] += hit
        counts[1] += 1
    return np.array([found[of] for of in sorted(found)], float)


def _drawn(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares [DRAWS] of pairs drawn with replacement, the same pairs for the same number of them."""
    rows = np.random.default_rng(SEED).integers(0, len(counts), (DRAWS, len(counts)))
    both = counts[rows].sum(axis=1)
    return np.asarray(both[:, 0] / both[:, 1])


def _share(hits: Sequence[tuple[int, bool]]) -> dict[str, Any]:
    counts = _by_pair(hits)
    low, high = np.quantile(_drawn(counts), (0.025, 0.975))
    flipped, tried = counts.sum(axis=0)
    return {"share": flipped / tried, "low": low, "high": high, "flips": int(flipped), "n": int(tried)}


def _difference(one: Sequence[tuple[int, bool]], other: Sequence[tuple[int, bool]]) -> dict[str, Any]:
    a, b = _by_pair(one), _by_pair(other)
    low, high = np.quantile(_drawn(a) - _drawn(b), (0.025, 0.975))
    shares = [counts[:, 0].sum() / counts[:, 1].sum() for counts in (a, b)]
    return {"share": shares[0] - shares[1], "low": low, "high": high}


def drawn_pairs(pairs: Sequence[Pair], labels: NDArray[np.int64], count: int) -> tuple[list[Pair], list[int]]:
    """`count` non-matching pairs and as many matching ones, at random."""
    rows: list[int] = []
    for label in (0, 1):
        of_label = np.flatnonzero(labels == label).tolist()
        rows += Random(f"{SEED} {label}").sample(of_label, min(count, len(of_label)))
    return [pairs[row] for row in rows], [int(labels[row]) for row in rows]


def measured(
    matcher: Matcher, folder: Path, *, validation: tuple[list[Pair], Any], test: tuple[list[Pair], Any], count: int
) -> dict[str, Any]:
    """Figures by kind of score."""
    scored = Scored(matcher, folder)
    found_rules = rules(matcher, scored.of(validation[0], "validation"), validation[1])
    clean_test = scored.of(test[0], "test")
    given, labels = drawn_pairs(*test, count)
    clean = scored.of(given, "pairs")
    made = probes(given, labels, matcher.student.prompt.template)
    probed = scored.of([probe.pair for probe in made], "probes")
    result: dict[str, Any] = {}
    for name, (weights, threshold) in found_rules.items():
        before = weighted_sum(clean, weights) >= threshold
        after = weighted_sum(probed, weights) >= threshold
        parts = {
            wanted: [at for at, probe in enumerate(made) if bool(labels[probe.of]) != wanted]
            for wanted in (True, False)
        }
        result[name] = {
            "average_precision": float(measure(weighted_sum(clean_test, weights), test[1])["average_precision"]),
            "to_match": flips([made[at] for at in parts[True]], before, after[parts[True]], wanted=True),
            "to_no_match": flips([made[at] for at in parts[False]], before, after[parts[False]], wanted=False),
            "worst": _worst(made, before, after, labels),
        }
    return result


def _worst(made: Sequence[Probe], before: Any, after: Any, labels: Sequence[int]) -> dict[str, str]:
    """The five payloads that flip most, as flips of tries."""
    counts: dict[str, list[int]] = {}
    for probe, now in zip(made, after, strict=True):
        if labels[probe.of] or before[probe.of] or probe.kind in ("neutral", "neutral_echo"):
            continue
        tally = counts.setdefault(probe.name, [0, 0])
        tally[0] += bool(now)
        tally[1] += 1
    order = sorted(counts, key=lambda name: -counts[name][0] / counts[name][1])
    return {name: f"{counts[name][0]} of {counts[name][1]}" for name in order[:5]}


def table(result: Mapping[str, Any]) -> str:
    """The figures as lines of text, in per cent."""
    lines = []
    for name, figures in result.items():
        lines.append(f"{name}: AP {figures['average_precision']:.4f}")
        for direction in ("to_match", "to_no_match"):
            for kind, f in figures[direction].items():
                of = f"  {f['flips']} of {f['n']}" if "n" in f else ""
                lines.append(
                    f"  {direction} {kind:26} {100 * f['share']:5.1f}  [{100 * f['low']:.1f}, {100 * f['high']:.1f}]{of}"
                )
        lines.append(f"  worst: {figures['worst']}")
    return "\n".join(lines)


def _read(path: str, count: int | None) -> tuple[list[Pair], NDArray[np.int64]]:
    pairs = read_pairs(path)
    if count is not None and count < len(pairs):
        pairs = pairs.select(sorted(Random(SEED).sample(range(len(pairs)), count)))
    return list(zip(pairs["text1"][:], pairs["text2"][:], strict=True)), np.array(pairs["label"][:])


def main() -> None:
    """Measure one matcher on one file of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matcher", required=True, help="matcher or run folder")
    parser.add_argument("--base_model", help="where its base model is now")
    parser.add_argument("--validation", required=True, help="labelled pairs for weights and thresholds")
    parser.add_argument("--test", required=True, help="labelled pairs")
    parser.add_argument(
        "--validation_pairs", type=int, help="number of validation pairs, drawn with a fixed seed; all"
    )
    parser.add_argument("--test_pairs", type=int, help="number of test pairs, drawn with a fixed seed; all")
    parser.add_argument("--pairs", type=int, default=40, help="non-matching pairs, and as many matching ones")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    given = parser.parse_args()
    matcher = Matcher.from_pretrained(given.matcher, base_model=given.base_model)
    if matcher.contract.symmetric:
        raise SystemExit(f"{given.matcher}: reads both orders of a pair; measure the one before calibrate --symmetric")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    validation, test = (
        _read(given.validation, given.validation_pairs),
        _read(given.test, given.test_pairs),
    )
    result = measured(matcher, given.output.parent, validation=validation, test=test, count=given.pairs)
    command = shlex.join(["python", "benchmarks/robustness/run.py", *sys.argv[1:]])
    write_json(given.output, {"command": command, "pairs": given.pairs, "scores": result})
    print(table(result))


if __name__ == "__main__":
    main()
