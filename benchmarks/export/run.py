"""Export a finished matcher to every format and type of weights, verify each on labelled pairs, and write results.json.

    python benchmarks/export/run.py RUN --validation_file data/validation.csv --test_file data/test.csv

The formats that compute the answer alone get a matcher of `calibrate --score answer`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from flipkd import verify
from flipkd.command_config import CalibrateConfig, ExportConfig, VerifyConfig
from flipkd.commands.calibrate import calibrate
from flipkd.commands.export import export
from flipkd.exports.record import installed_libraries

RESULTS = Path(__file__).with_name("results.json")
WHOLE = ("merged", "adapter")  # formats with all parts of the score
ANSWER_ONLY = ("merged", "sentence-transformers", "sequence-classification")
DTYPES = ("bfloat16", "float32")


def measure(matcher: Path, to: str, dtype: str, *, pairs: str, scratch: Path) -> dict[str, Any]:
    """Export and verify; return the comparison, the size of the folder and the seconds."""
    out = scratch / f"{matcher.name}-{to}-{dtype}"
    settings = {"matcher": str(matcher), "to": to, "output_dir": str(out), "dtype": dtype}
    start = time.perf_counter()
    export(ExportConfig.check(settings))
    exported = time.perf_counter()
    found = verify(VerifyConfig.check({"export": str(out), "against": str(matcher), "pairs": pairs}))
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    shutil.rmtree(out)
    seconds = {"export": round(exported - start, 1), "verify": round(time.perf_counter() - exported, 1)}
    return {"dtype": dtype, "megabytes": round(size / 1e6, 1), "seconds": seconds} | found


def main() -> None:
    """Measure all combinations; a finished one is written at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder, or the matcher folder in it")
    parser.add_argument("--validation_file", required=True)
    parser.add_argument("--test_file", required=True)
    parser.add_argument("--only", nargs="*", default=None, help="formats to measure")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        own = given.run / "matcher" if (given.run / "matcher").is_dir() else given.run
        answer = scratch / "answer"
        settings = {"matcher": str(own), "validation_file": given.validation_file, "output_dir": str(answer)}
        calibrate(CalibrateConfig.check(settings | {"score": "answer"}))
        rows = []
        for matcher, score, formats in ((own, "as trained", WHOLE), (answer, "answer", ANSWER_ONLY)):
            for to in formats:
                for dtype in DTYPES[:1] if to == "adapter" else DTYPES:
                    if given.only and to not in given.only:
                        continue
                    rows.append({"score": score} | measure(matcher, to, dtype, pairs=given.test_file, scratch=scratch))
                    RESULTS.write_text(json.dumps({"libraries": installed_libraries(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
