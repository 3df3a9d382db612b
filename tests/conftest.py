"""Fixtures that every room's tests share: tiny base models on disk, and students made from them."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import unsynced  # noqa: F401
from command_line import flipkd, given, student
from tiny import FAMILIES, build_encoders, build_model, build_tokenizer, make_table, student_config, write_pairs

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would reach for the network fails instead
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models are tiny, and other tests use the other cores
gc.disable()  # nothing that is imported becomes garbage; see pytest_collection_finish
MOST_WORKERS = 8  # each imports torch, which takes about a gigabyte


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Workers of `-n auto`: one for each core that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but never look through what was imported: a second for each gc.collect()."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def idle_machine(monkeypatch):
    """Keep the warning of a busy machine out of what commands print: other tests run beside this one."""
    monkeypatch.setattr("flipkd.cli.terminal.busy_warning", lambda: None)


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="session")
def base_models(tmp_path_factory) -> dict[str, Path]:
    """Family -> folder of a tiny model with its tokenizer, saved as transformers saves them."""
    folders = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp("base") / family
        tokenizer = build_tokenizer()
        build_model(family, vocabulary=len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[family] = folder
    return folders


@pytest.fixture(params=FAMILIES)
def base_model(request, base_models) -> Path:
    return base_models[request.param]


@pytest.fixture(scope="session")
def make_student(base_models):
    """`make_student(family, **settings)` -> (student, contract) in float32 with small LoRA."""
    from flipkd.student.loading import new_student

    def make(family: str = "llama", *, glossary=None, **settings):
        return new_student(student_config(base_models[family], **settings), glossary=glossary)

    return make


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> Path:
    """Folder with a tiny SentenceTransformer `bi` and a tiny CrossEncoder `cross`."""
    folder = tmp_path_factory.mktemp("encoders")
    build_encoders(folder)
    return folder


@pytest.fixture(scope="session")
def pair_files(tmp_path_factory) -> dict[str, str]:
    """train, validation and test as csv files with a score column: 48, 24 and 24 pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    sizes = {"train": 48, "validation": 24, "test": 24}
    return {
        name: str(write_pairs(folder / f"{name}.csv", make_table(n, seed=seed)))
        for seed, (name, n) in enumerate(sizes.items())
    }


@pytest.fixture(scope="session")
def taught(tmp_path_factory, encoders, pair_files) -> str:
    """The folder of a teacher: the tiny bi-encoder, fine-tuned for an epoch."""
    folder = str(tmp_path_factory.mktemp("taught") / "teacher")
    done = flipkd("teach", *given(pair_files), "--teacher_name_or_path", encoders / "bi", "--output_dir", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory, base_models, pair_files, taught) -> str:
    """The folder of a finished run of a tiny llama."""
    folder = str(tmp_path_factory.mktemp("trained") / "run")
    words = (*given(pair_files), *student(base_models["llama"]), "--teacher", taught, "--output_dir", folder)
    done = flipkd("train", *words)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def with_teacher(tmp_path_factory, base_models, pair_files, taught) -> str:
    """The folder of a finished run of a tiny llama whose matcher keeps its teacher, a bi-encoder."""
    folder = str(tmp_path_factory.mktemp("with-teacher") / "run")
    words = (*given(pair_files), *student(base_models["llama"], keep_teacher="true"), "--teacher", taught)
    done = flipkd("train", *words, "--output_dir", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="session")
def tiny_matcher(make_student, tmp_path_factory):
    """`tiny_matcher(family, reading, **contract)` -> folder of a matcher with random LoRA; each is written once."""
    from tiny_matchers import write_matcher

    made: dict[str, Path] = {}

    def make(family: str = "llama", reading: str = "joint", **changes) -> Path:
        key = repr((family, reading, sorted(changes.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("matchers") / "matcher"
            made[key] = write_matcher(make_student, folder, family, reading, **changes)
        return made[key]

    return make


@pytest.fixture
def yaml_file(tmp_path):
    """`yaml_file(text)` -> path of a file that holds it."""

    def write(text: str | bytes):
        path = tmp_path / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
