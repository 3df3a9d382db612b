"""Take over what comparisons found: a file per unit, and the paired differences of each data set.

    python benchmarks/quality/collect.py comparison/*

Scores of single pairs, models and reports stay where they are; they are large, and a comparison makes them again.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(folders: list[Path]) -> None:
    """Copy the units' results; write differences/NAME.json."""
    for folder in folders:
        for path in sorted((folder / "results").glob("*.json")):
            shutil.copy(path, HERE / "results" / path.name)
        whole = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        kept = {name: whole[name] for name in ("data", "command", "pairs", "differences")}
        target = HERE / "differences" / f"{whole['data']}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        print(f"{whole['data']}: {len(whole['units'])} units")


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
