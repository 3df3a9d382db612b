"""dedupe: clusters of the records of one entity, by candidates, their match, and connected components."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flipkd import __version__
from flipkd.command_config import CandidatesConfig, DedupeConfig, MatchConfig
from flipkd.command_config.entities import RulesConfig
from flipkd.commands.candidates import candidates
from flipkd.commands.cluster_files import CLUSTER, cluster_records, write_clusters, write_weak_matches
from flipkd.commands.match import match
from flipkd.commands.matcher_teacher import is_matcher
from flipkd.commands.pairs import file_identity
from flipkd.commands.results import require_writable, text_table
from flipkd.commands.scored_pairs import read_scored
from flipkd.commands.search import described
from flipkd.data.records import read_records
from flipkd.data.sources import columns_of
from flipkd.errors import DataError, UsageError
from flipkd.evaluate.calibration import Calibration
from flipkd.files import MANIFEST, folder_hash, read_json, sha256, write_json
from flipkd.run_lock import locked_run
from flipkd.student.contract import find_matcher, read_contract
from flipkd.teachers.stored_teacher import TEACHER

logger = logging.getLogger(__name__)
CANDIDATES, COUNTS, PAIRS = "candidates.parquet", "candidates.json", "pairs.csv"
WEAK, SUMMARY, STORE = "weak_matches.csv", "summary.json", "vectors"
TEXTS = {"text1": "text1", "text2": "text2"}


def dedupe(config: DedupeConfig) -> dict[str, Any]:
    """Cluster the records of one file or two, and write all results to `output_dir`; returns the content of summary.json.

    A stopped command resumes: vectors, candidates and scored pairs are kept. A finished one makes only the clusters again, for
    example with another threshold. Raises ArtefactError when the folder was made with other settings or files, and the errors of
    `candidates` and `match`.
    """
    folder, files = Path(config.output_dir), [file for file in (config.left, config.right) if file is not None]
    outputs = _cluster_files(config, folder)
    for file, output in zip(files, outputs, strict=True):
        if CLUSTER in columns_of(file):
            raise UsageError(f"{file}: has a column {CLUSTER!r}, which the result adds; rename the column in the file")
        require_writable(output, source=file, mark=CLUSTER)
    matcher = find_matcher(config.matcher)
    contract = read_contract(matcher)
    contents = [file_identity(file) for file in files]
    with locked_run(folder, _identity(config, contents, sha256(matcher / MANIFEST))):
        counts = _candidates(config, folder, encoder=config.encoder or str(matcher))
        _match(config, folder, counts["rules"]["total"]["pairs"])
        if [file_identity(file) for file in files] != contents:
            raise DataError(
                f"{' or '.join(files)} changed while it was read; choose another --output_dir and run again"
            )
        own = float(Calibration.of(contract.calibration).apply([contract.threshold or 0.0])[0])
        return _cluster(config, folder, counts, own_threshold=own)


def _cluster_files(config: DedupeConfig, folder: Path) -> list[Path]:
    names = ["clusters"] if config.right is None else ["clusters_left", "clusters_right"]
    return [folder / f"{name}.{config.format}" for name in names]


def _identity(config: DedupeConfig, contents: list[str], fingerprint: str) -> dict[str, Any]:
    """Return all that the candidates and their scores depend on."""
    rules = config.model_dump(include=RulesConfig.model_fields.keys() - {"left", "right", "store"})
    scoring = config.model_dump(include={"encoder", "cascade", "exact"})
    found = {"files": contents, "matcher": fingerprint, **rules, **scoring, "flipkd_version": __version__}
    # Their content may change under the same name.
    found |= {} if config.labels is None else {"labels_hash": file_identity(config.labels)}
    found |= {} if config.encoder is None else _encoder_entry(Path(config.encoder))
    return found


def _encoder_entry(folder: Path) -> dict[str, str]:
    """Return {"encoder_hash": hash of the model} for an encoder in a local folder; else {}."""
    if (folder / TEACHER).exists() or is_matcher(folder):  # a teacher's folder also has its cache, which grows
        return {"encoder_hash": described(str(folder))["fingerprint"]}
    return {"encoder_hash": folder_hash(folder)} if folder.is_dir() else {}


def _candidates(config: DedupeConfig, folder: Path, *, encoder: str) -> dict[str, Any]:
    """Find the candidates, or return the counts of an earlier run."""
    if (folder / COUNTS).exists():
        found: dict[str, Any] = read_json(folder / COUNTS)
        return found
    rules = config.model_dump(include=set(RulesConfig.model_fields))
    rules |= {"output": str(folder / CANDIDATES), "encoder": encoder if config.top_k else None, "distinct": True}
    rules |= {"base_model": config.base_model}
    found = candidates(CandidatesConfig.check(rules | {"store": config.store or str(folder / STORE)}))
    write_json(folder / COUNTS, found)
    return found


def _match(config: DedupeConfig, folder: Path, count: int) -> None:
    """Score the candidates with `match`, which resumes, unless an earlier run finished it."""
    if not count:
        return
    if (folder / PAIRS).exists():
        logger.warning("%s: the scored pairs of an earlier run are used", folder / PAIRS)
        return
    pairs = str(folder / CANDIDATES)
    settings = config.model_dump(include={"guard", "base_model", "batch_size", "cascade", "exact"})
    settings |= {"columns": TEXTS, "keep": [name for name in columns_of(pairs) if name not in TEXTS]}
    match(MatchConfig.check(settings | {"matcher": config.matcher, "pairs": pairs, "output": str(folder / PAIRS)}))


def _cluster(config: DedupeConfig, folder: Path, counts: dict[str, Any], *, own_threshold: float) -> dict[str, Any]:
    records = [read_records(config.left, text=config.text)]
    if config.right is not None:
        records.append(read_records(config.right, text=config.text_right or config.text))
    total = counts["rules"]["total"]["pairs"]
    pairs, sizes = folder / PAIRS if total else None, [len(side) for side in records]
    scored = read_scored(pairs, sizes, count=total, threshold=config.threshold)
    threshold = own_threshold if config.threshold is None else config.threshold
    found = cluster_records(records, scored, weak_below=threshold + config.weak_margin)
    outputs = _cluster_files(config, folder)
    for side, (file, output) in enumerate(zip((config.left, config.right), outputs, strict=False)):
        write_clusters(str(file), output, found.of_file(side), guard=config.guard)
    write_weak_matches(folder / WEAK, records, scored, found, guard=config.guard)
    summary = {
        "records": sizes,
        "candidates": total,
        **({} if counts["known"] is None else {"recall": counts["rules"]["total"]["recall"]}),
        "matches": int(scored.match.sum()),
        "review": int(scored.review.sum()),
        "threshold": threshold,
        **found.summary(),
        "files": [str(path) for path in (*outputs, folder / PAIRS, folder / WEAK) if path.exists()],
    }
    write_json(folder / SUMMARY, summary)
    return summary


def clusters_text(found: Mapping[str, Any]) -> str:
    """Return a table of the counts of flipkd dedupe, and the files that it wrote."""
    largest = found["largest"]
    rows = [
        ["records", " + ".join(f"{count:,}" for count in found["records"])],
        ["candidates", f"{found['candidates']:,}"],
        *([["recall of known matches among them", f"{found['recall']:.4f}"]] if "recall" in found else []),
        ["matches", f"{found['matches']:,}"],
        *([["pairs for review", f"{found['review']:,}"]] if found["review"] else []),
        ["entities", f"{found['entities']:,}"],
        ["clusters of two or more records", f"{found['clusters']:,}"],
        ["records in them", f"{found['clustered']:,}"],
        *([["clusters with records of both files", f"{found['linked']:,}"]] if "linked" in found else []),
        ["largest cluster", f"{largest['records']:,} records (cluster {largest['cluster']})"],
        ["held together by one weak match", f"{found['weak']:,}"],
    ]
    files = "\n".join(found["files"])
    return f"{text_table(['result', 'count'], rows)}\n{files}"
