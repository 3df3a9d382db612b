"""Part files of a ScoreStore: keys, values and fingerprint in safetensors, named after the sha256 of the bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from flipkd.files import write_bytes

KEY_BYTES = 32
PARTS = "part-*.safetensors"


def write_part(folder: Path, keys: list[bytes], values: np.ndarray, *, fingerprint: str) -> str:
    """Write n keys of KEY_BYTES and their values [n, ...] as one file, atomically; return its name."""
    content = save(
        {
            "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES),
            "values": values,
            "fingerprint": np.frombuffer(fingerprint.encode(), dtype=np.uint8),
        }
    )
    name = f"part-{len(keys)}-{hashlib.sha256(content).hexdigest()}.safetensors"
    write_bytes(folder / name, content)
    return name


def parse_part(name: str, content: bytes, *, fingerprint: str) -> tuple[list[bytes], np.ndarray] | None:
    """Keys and values of a part file; None if any byte was changed or it belongs to another teacher."""
    if hashlib.sha256(content).hexdigest() != name.removesuffix(".safetensors").rpartition("-")[2]:
        return None
    try:
        tensors = load(content)
        keys, values, owner = tensors["keys"], tensors["values"], tensors["fingerprint"].tobytes()
    except (SafetensorError, KeyError):
        return None
    if owner != fingerprint.encode() or len(keys) != len(values):
        return None
    return [key.tobytes() for key in keys], values
