"""Take flipkd, its packages, the packaged models and the pairs to a GPU machine that has no network.

    python benchmarks/gpu/offline.py pack --pairs_folder benchmarks/quality/pairs --output_dir parts
    # bring parts/ and a checkout to the machine; there, in the checkout:
    mkdir bundle && cat parts/part.* | tar -xz -C bundle && python3 bundle/offline.py unpack bundle && . bundle/env.sh
    python3 benchmarks/gpu/quality.py --pairs_folder bundle/pairs --output_dir gpu \\
        --models all-MiniLM-L6-v2=bundle/models/all-MiniLM-L6-v2

The machine must have torch, numpy, scipy, pandas, pyarrow, scikit-learn, PyYAML, Jinja2 and tqdm for `--python_version`. Of
an embedding only the rows of tokens that the pairs and the prompt use are taken, the others come back as zeros: scores
and losses of these pairs are the same, and 200 MB travel instead of 700. Parts are as large as `--part_bytes`, for
narrow ways.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STUDENT, TEACHERS = "gemma-3-270m", {"all-MiniLM-L6-v2": "", "multilingual-e5-small": "query: "}
FIRST_IDS = 1200  # special tokens and single characters, which are always taken
PACKAGES = [
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "hf-xet",
    "peft",
    "accelerate",
    "sentence-transformers",
    "datasets",
    "dill",
    "multiprocess",
    "pydantic",
    "pydantic_core",
    "annotated-types",
    "typing-inspection",
    "typing_extensions",
    "typer",
    "click",
    "shellingham",
    "rich",
    "markdown-it-py",
    "mdurl",
    "Pygments",
    "xxhash",
    "filelock",
    "fsspec",
    "httpx2",
    "httpcore2",
    "truststore",
    "safetensors",
    "gguf",
    "trl",
    "annotated-doc",
    "regex",
]
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


def pack(given: argparse.Namespace) -> None:
    """Write part.aa, part.ab, ... to the output folder."""
    given.output_dir.mkdir(parents=True, exist_ok=True)
    bundle = given.output_dir / "bundle"
    bundle.mkdir()
    texts = all_texts(given.pairs_folder)
    install(bundle / "site", given.python_version)
    pack_student(bundle / "student", texts)
    for name, prompt in TEACHERS.items():
        pack_teacher(name, prompt, bundle / "models" / name, texts)
    shutil.copytree(given.pairs_folder, bundle / "pairs")
    shutil.copy(__file__, bundle / "offline.py")
    archive = shutil.make_archive(str(given.output_dir / "bundle"), "gztar", bundle)
    subprocess.run(["split", "-b", str(given.part_bytes), archive, str(given.output_dir / "part.")], check=True)
    Path(archive).unlink()
    shutil.rmtree(bundle)


def all_texts(folder: Path) -> list[str]:
    """Return every text of the pairs, once."""
    import pyarrow.parquet as pq

    files = folder.glob("*/*.parquet")
    return sorted(
        {text for file in files for column in ("text_a", "text_b") for text in pq.read_table(file)[column].to_pylist()}
    )


def install(site: Path, version: str) -> None:
    """Put the packages for that Python under `site`, and what says that flipkd is installed."""
    import importlib.metadata

    pinned = {line.partition("==")[0].lower(): line for line in (ROOT / "constraints.txt").read_text().split()}
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    words += ["--python-version", version, "--implementation", "cp", "--target", str(site)]
    words += [word for abi in (f"cp{version.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
    words += [word for platform in PLATFORMS for word in ("--platform", platform)]
    subprocess.run(words + [pinned.get(name.lower(), name) for name in PACKAGES], check=True)
    about = site / f"flipkd-{importlib.metadata.version('flipkd')}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(importlib.metadata.distribution("flipkd").read_text("METADATA") or "")


def pack_student(folder: Path, texts: list[str]) -> None:
    """Write the packaged student, still quantised, with the embedding rows that are used."""
    from gguf import GGUFReader

    from flipkd.models import gemma, model_path
    from flipkd.student.language_model import load_tokenizer
    from flipkd.student.prompt import Prompt, Template

    folder.mkdir(parents=True)
    source = Path(model_path(STUDENT))
    prompt = Prompt(load_tokenizer(STUDENT), Template(), max_text_length=512)
    rows = [*prompt.pair_rows(texts, texts), *prompt.text_rows(texts)]
    used = used_ids([*(row.ids for row in rows), prompt.label_ids])
    arrays: dict[str, Any] = {"used": used}
    kinds = {}
    joined = gemma.join_parts(folder)
    for tensor in GGUFReader(joined).tensors:
        values = np.array(tensor.data)
        arrays[f"tensor:{tensor.name}"] = values[used] if tensor.name == "token_embd.weight" else values
        kinds[tensor.name] = [int(tensor.tensor_type), gemma.hub_name(tensor.name)]
    joined.unlink()
    np.savez(folder / "tensors.npz", **arrays)
    (folder / "kinds.json").write_text(json.dumps(kinds))
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (folder / f"{file.name}.xz").write_bytes(lzma.compress(file.read_bytes(), preset=6))


def pack_teacher(name: str, prompt: str, folder: Path, texts: list[str]) -> None:
    """Copy an encoder in float16, with zeros for the embedding rows that are not used."""
    from safetensors.numpy import load_file, save_file
    from transformers import AutoTokenizer

    from flipkd.models import model_path

    source = Path(model_path(name))
    tokenizer = AutoTokenizer.from_pretrained(source)
    used = used_ids(tokenizer([prompt + text for text in texts])["input_ids"])
    shutil.copytree(
        source, folder, ignore=shutil.ignore_patterns("*.onnx", "onnx", "openvino", "*.bin", "*.h5", "*.py")
    )
    weights = load_file(source / "model.safetensors")
    for key, value in weights.items():
        if "word_embeddings" in key:
            value = value.copy()
            value[np.setdiff1d(np.arange(len(value)), used)] = 0
        weights[key] = value.astype(np.float16) if value.dtype == np.float32 else value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def used_ids(rows: Iterable[Iterable[int]]) -> Any:
    """Return the token ids of the rows and the first ids, in order."""
    return np.array(sorted(set(range(FIRST_IDS)).union(*rows)))


def unpack(folder: Path) -> None:
    """Write the models as flipkd reads them, and env.sh with the variables that find all."""
    folder = folder.resolve()
    sys.path.insert(0, str(folder / "site"))
    unpack_student(folder / "student", folder / "cache" / "flipkd" / "models" / STUDENT)
    from safetensors.numpy import load_file, save_file

    for file in folder.glob("models/*/model.safetensors"):
        weights = load_file(file)
        wide = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in weights.items()}
        save_file(wide, file, metadata={"format": "pt"})
    variables = {"XDG_CACHE_HOME": folder / "cache", "HF_HUB_OFFLINE": 1, "TOKENIZERS_PARALLELISM": "false"}
    lines = [f'export {name}="{value}"' for name, value in variables.items()]
    (folder / "env.sh").write_text("\n".join([*lines, f'export PYTHONPATH="{folder}/site:$PWD/src"']) + "\n")


def unpack_student(source: Path, folder: Path) -> None:
    """Write the student in bfloat16, its embedding with all rows again."""
    import torch
    from gguf import GGMLQuantizationType, dequantize
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    for file in source.glob("*.xz"):
        (folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
    config = json.loads((folder / "config.json").read_text())
    weights, arrays = {}, np.load(source / "tensors.npz")
    for name, (kind, hub_name) in json.loads((source / "kinds.json").read_text()).items():
        values = dequantize(arrays[f"tensor:{name}"], GGMLQuantizationType(kind))
        tensor = torch.tensor(values - 1 if "norm" in name else values, dtype=torch.bfloat16)
        if name == "token_embd.weight":
            every = torch.zeros(config["vocab_size"], config["hidden_size"], dtype=torch.bfloat16)
            every[torch.from_numpy(arrays["used"])] = tensor
            tensor = every
        weights[hub_name] = tensor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Pack here, or unpack there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    packing = commands.add_parser("pack")
    packing.add_argument("--pairs_folder", type=Path, required=True)
    packing.add_argument("--output_dir", type=Path, required=True)
    packing.add_argument("--python_version", default="3.12", help="of the GPU machine")
    packing.add_argument("--part_bytes", type=int, default=52_000_000)
    commands.add_parser("unpack").add_argument("folder", type=Path)
    given = parser.parse_args()
    pack(given) if given.command == "pack" else unpack(given.folder)


if __name__ == "__main__":
    main()
