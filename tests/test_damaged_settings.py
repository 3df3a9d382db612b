"""A model with damaged JSON files raises an error of flipkd: seeded changes of each file, one key at a time."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from tiny import build_model, build_tokenizer, student_config

from flipkd.errors import FlipkdError
from flipkd.files import write_manifest
from flipkd.matcher import Matcher
from flipkd.student.golden import golden_pair
from flipkd.student.loading import new_student
from flipkd.teachers.stored_teacher import StoredTeacher
from flipkd.teachers.teacher import load_teacher

COUNT = 15
GONE = object()
WRONG = (GONE, None, "x", "", -1, 0, 1.5, 10**18, -(10**9), [], {}, True)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value in a JSON document."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(part, (*path, key))


def changed(values: Any, path: tuple, wrong: Any) -> Any:
    copy = json.loads(json.dumps(values))
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    if wrong is GONE:
        del inside[path[-1]]
    else:
        inside[path[-1]] = wrong
    return copy


def start_student(folder):
    return new_student(student_config(folder, readout_r=8))


def base(folder):
    tokenizer = build_tokenizer()
    build_model("llama", vocabulary=len(tokenizer), layers=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def matcher(folder):
    base(folder / "base")
    student, contract = start_student(folder / "base")
    calibration = {"method": "temperature", "slope": 1.0, "intercept": 0.0}
    decided = {"calibration": calibration, "threshold": 0.5, "golden": golden_pair(student)}
    student.save(folder / "m", contract.model_copy(update=decided))


def match(folder):
    write_manifest(folder / "m")
    Matcher.from_pretrained(folder / "m").predict([("my card", "pin")])


def embed(folder):
    load_teacher(folder, device="cpu").embed(["my card"])


def score(folder):
    load_teacher(folder, kind="cross_encoder", device="cpu").score(["my card"], ["pin"])


CASES = [
    ("base", "config.json", start_student),
    ("base", "tokenizer_config.json", start_student),
    ("matcher", "m/matcher.json", match),
    ("matcher", "m/adapter/adapter_config.json", match),
    ("matcher", "m/tokenizer/tokenizer_config.json", match),
    ("bi", "config.json", embed),
    ("bi", "tokenizer_config.json", embed),
    ("bi", "modules.json", embed),
    ("bi", "sentence_bert_config.json", embed),
    ("bi", "1_Pooling/config.json", embed),
    ("cross", "config.json", score),
    ("cross", "tokenizer_config.json", score),
    ("taught", "teacher.json", StoredTeacher),
]


@pytest.mark.slow
@pytest.mark.parametrize("source, name, use", CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_build_handles_every_damaged_file(encoders, taught, tmp_path, source, name, use):
    folder = tmp_path / "it"
    if source in ("base", "matcher"):
        {"base": base, "matcher": matcher}[source](folder)
    else:
        shutil.copytree(taught if source == "taught" else encoders / source, folder)
    use(folder)
    file = folder / name
    values = json.loads(file.read_text())
    every = [(path, wrong) for path in places(values) for wrong in WRONG]
    refused = 0
    for path, wrong in random.Random(0).sample(every, min(COUNT, len(every))):
        file.write_text(json.dumps(changed(values, path, wrong)))
        try:
            use(folder)
        except FlipkdError:
            refused += 1
        except Exception as error:
            pytest.fail(f"{name}: {path} as {wrong!r} ends in {type(error).__name__}: {error}")
    assert refused
