"""Teacher, a small model that scores text pairs, with a fingerprint of everything its outputs depend on."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from flipkd.artefacts import checked_model, library_errors, load_lock
from flipkd.errors import ConfigError, nearest
from flipkd.tables import pick
from flipkd.teachers.weights import require_weights

TEACHERS = {
    "bi_encoder": "flipkd.teachers.bi_encoder:load_bi_encoder",
    "cross_encoder": "flipkd.teachers.cross_encoder:load_cross_encoder",
}
NOT_RUN = "the model does not run on these texts"
DTYPES = ["float32", "bfloat16", "float16"]


class Teacher(Protocol):
    """Interface of every teacher; a teacher of your own also has `embed(texts)` or `score(left, right)`.

    Examples:
        >>> from flipkd import Teacher
        >>> class WordOverlap:
        ...     fingerprint = "0" * 64  # changes with everything the scores depend on
        ...
        ...     def describe(self):
        ...         return {"kind": "word_overlap"}
        ...
        ...     def score(self, left, right, *, progress=False):
        ...         pairs = zip(left, right, strict=True)
        ...         return np.array([len({*a.split()} & {*b.split()}) for a, b in pairs], np.float32)
        >>> teacher: Teacher = WordOverlap()
        >>> teacher.score(["lost my card"], ["my card is lost"])
        array([3.], dtype=float32)
    """

    fingerprint: str

    def describe(self) -> dict[str, Any]:
        """Return a description for JSON: kind, name, prompt, length, precision, hashes."""
        ...


@runtime_checkable
class VectorTeacher(Teacher, Protocol):
    """Teacher with one vector per text; the score of a pair is the dot product of its two vectors."""

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Compute vectors [n, d], float32, unit length."""
        ...


class ScoreTeacher(Teacher, Protocol):
    """Teacher with one score per pair; a higher score is a better match."""

    def score(self, left: Sequence[str], right: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Compute scores [N], float32."""
        ...


def pair_scores(teacher: VectorTeacher | ScoreTeacher, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """Compute scores [N] of the pairs (left_i, right_i), without a cache."""
    if not isinstance(teacher, VectorTeacher):
        return teacher.score(left, right)
    products: np.ndarray = np.einsum("nd,nd->n", teacher.embed(left), teacher.embed(right))
    return products


def load_teacher(
    name_or_path: str | Path,
    *,
    kind: str = "bi_encoder",
    max_length: int | None = None,
    prompt: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    batch_size: int = 32,
) -> VectorTeacher | ScoreTeacher:
    """Load a teacher from a folder (also of an ensemble), a packaged name or the hub; no remote code is executed.

    `kind` is a key of TEACHERS or `package.module:function` with the other arguments of this function. `max_length` is in
    tokens, at most the limit of the model; None is the model's own. `prompt`: None is the model's default, "" no prompt.
    Raises ArtefactError (no such model), ConfigError (kind, dtype), RefusedError (needs remote code).
    """
    from flipkd.teachers.ensemble import ensemble_of, members_of

    load = pick(TEACHERS, kind, what="teacher kind")

    def loaded(path: str | Path) -> VectorTeacher | ScoreTeacher:
        teacher: VectorTeacher | ScoreTeacher = load(
            path, max_length=max_length, prompt=prompt, dtype=dtype, device=device, batch_size=batch_size
        )
        return teacher

    if members := members_of(name_or_path):
        return ensemble_of([loaded(member) for member in members], name=str(name_or_path))
    return loaded(name_or_path)


@load_lock()
def load_model(
    model_class: Any,
    name_or_path: str | Path,
    *,
    max_length: int | None,
    dtype: str = "float32",
    device: str | None = None,
    num_labels: int | None = None,
) -> Any:
    """Load a SentenceTransformer or CrossEncoder (`model_class`) and set `max_length`; errors as in `load_teacher`.

    With `num_labels`, a scoring head that is missing or of another size is initialised randomly, to be trained.
    """
    from flipkd.models import model_path

    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype {dtype!r}; {nearest(dtype, DTYPES)}")
    path = str(model_path(str(name_or_path)))
    local = Path(path).is_dir()
    checked = checked_model(path)
    what = "folder without a usable model" if local else "model that cannot be loaded"
    # A local folder causes no request to the hub; without safetensors, transformers would unpickle.
    settings: dict[str, Any] = {
        "device": device,
        "local_files_only": local,
        "revision": checked.revision,
        "trust_remote_code": False,
        "model_kwargs": {"dtype": dtype, "use_safetensors": True},
    }
    if num_labels is not None:
        settings["num_labels"] = num_labels
        settings["model_kwargs"]["ignore_mismatched_sizes"] = True  # replace a head of another size
    with library_errors(name_or_path, f"a {what} for {model_class.__name__}"):
        model = model_class(path, **settings)
        require_weights(model, path, checked, name=str(name_or_path), new_head=num_labels is not None)
        if max_length is not None and model.max_seq_length != math.inf:  # static embeddings have no length limit
            model.max_seq_length = min(max_length, model.max_seq_length or max_length)
        _run_once(model)
    return model


def _run_once(model: Any) -> None:
    """Run the model on one text or pair, because some errors in its files appear only then."""
    if hasattr(model, "predict"):
        model.predict([("a", "b")], show_progress_bar=False)
    else:
        model.encode(["a"], show_progress_bar=False)


def default_prompt(model: Any) -> str:
    """Default prompt of a sentence-transformers model, "" if it has none."""
    name = model.default_prompt_name
    return "" if name is None else str(model.prompts.get(name) or "")


def describe_model(model: Any, *, kind: str, name: str, prompt: str, scale: str) -> dict[str, Any]:
    """Describe everything the outputs of a sentence-transformers model depend on, for JSON and `fingerprint_of`."""
    network = model.transformers_model
    config = network.config.to_diff_dict() if network is not None else {}
    for unrelated in ("_name_or_path", "transformers_version", "dtype"):
        config.pop(unrelated, None)
    modules: list[Any] = [[type(module).__name__, getattr(module, "get_config_dict", dict)()] for module in model]
    dimension = getattr(model, "truncate_dim", None)  # omitted if not set, so that earlier fingerprints stay valid
    return ({} if dimension is None else {"truncate_dim": dimension}) | {
        "name": name,
        "kind": kind,
        "scale": scale,
        "prompt": prompt,
        "max_length": None if model.max_seq_length == math.inf else model.max_seq_length,
        "dtype": str(model.dtype).removeprefix("torch."),
        "weights": weights_hash(model),
        "tokenizer": tokenizer_hash(model.tokenizer),
        "modules": hashlib.sha256(canonical([modules, config])).hexdigest(),
    }


def fingerprint_of(description: dict[str, Any]) -> str:
    """Return the sha256 (hex) of a description without `name`: a moved or renamed model is the same teacher."""
    return hashlib.sha256(canonical({key: value for key, value in description.items() if key != "name"})).hexdigest()


def canonical(value: Any) -> bytes:
    """Serialise a JSON value to bytes that do not depend on the order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode("ascii")


def weights_hash(model: Any) -> str:
    """Return the xxh3-128 (hex) of name, shape, dtype and bytes of all parameters and buffers."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(canonical([name, list(tensor.shape), str(tensor.dtype)]))
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return str(digest.hexdigest())


def tokenizer_hash(tokenizer: Any) -> str:
    """Return the sha256 (hex) of the state of a tokenizer that affects its output."""
    rust = tokenizer if hasattr(tokenizer, "to_str") else None  # static embeddings use the tokenizers library directly
    backend = getattr(tokenizer, "backend_tokenizer", rust)
    if backend is not None:
        state = json.loads(backend.to_str())
        # These are settings of the last call, not part of the tokenizer.
        state["truncation"] = state["padding"] = None
        sides = [getattr(tokenizer, name, None) for name in ("truncation_side", "padding_side", "chat_template")]
        return hashlib.sha256(canonical([state, sides])).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
        return hashlib.sha256(canonical([[file.name, file.read_bytes().hex()] for file in files])).hexdigest()
