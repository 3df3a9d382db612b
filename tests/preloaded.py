"""What commands import late, imported by the server of forked.py before it forks."""

import gc
import pkgutil
from importlib import import_module
from importlib.util import find_spec

import flipkd

OURS = tuple(
    f"flipkd.{name}" for name in ("cli", "commands", "comparison", "objectives", "serve", "teachers", "training")
)
FAMILIES = ("bert", "gemma3", "llama", "qwen2")
THEIRS = (
    "torch.profiler",
    "torch.distributed.launcher.api",
    *(f"transformers.models.{family}.modeling_{family}" for family in FAMILIES),
    *(f"sklearn.{name}" for name in ("linear_model", "metrics", "model_selection", "pipeline", "preprocessing")),
    "scipy.stats",
    "rich.progress",
    "sentence_transformers.cross_encoder",
    "gradients",
    "killed_run",
    "unsynced",
    "worlds",
    # What lancedb imports, but not lancedb itself, which starts threads: a second for each process that opens an index.
    *filter(find_spec, ("pandas", "pyarrow.dataset", "lance_namespace")),
)

for found in pkgutil.walk_packages(flipkd.__path__, "flipkd."):
    if found.name.startswith(OURS):
        import_module(found.name)
for name in THEIRS:
    import_module(name)
gc.collect()
gc.freeze()  # a forked process never looks through what was imported: most of a second for each gc.collect()
