"""Label Studio: tasks and configuration that fit each other, and the votes of its exports."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from review_queues import filled_queue, key_of

from flipkd.errors import DataError
from flipkd.review import label_studio
from flipkd.review.queue import Vote


@pytest.fixture
def pairs(tmp_path):
    with filled_queue(tmp_path / "q.db", count=3) as queue:
        return sorted(queue.pairs(), key=lambda pair: pair.text1)


def annotation(label, by, **more):
    result = [{"id": "x", "from_name": "label", "to_name": "text1", "type": "choices", "value": {"choices": [label]}}]
    return {
        "id": 1,
        "completed_by": by,
        "result": result,
        "was_cancelled": False,
        "updated_at": "2026-01-01T10:00:00Z",
    } | more


def test_tasks_use_the_names_and_choices_of_the_configuration(pairs):
    root = ElementTree.fromstring(label_studio.CONFIG)
    [choices] = root.iter("Choices")
    allowed = [choice.get("value") for choice in choices]
    texts = {text.get("name"): text.get("value") for text in root.iter("Text")}
    tasks = label_studio.tasks([*pairs[:1], replace(pairs[1], probability=0.9)])
    for task in json.loads(json.dumps(tasks)):
        assert {value.removeprefix("$") for value in texts.values()} <= task["data"].keys()
        [prediction] = task["predictions"]
        [region] = prediction["result"]
        assert (region["from_name"], region["to_name"], region["type"]) == (
            choices.get("name"),
            choices.get("toName"),
            "choices",
        )
        assert region["to_name"] in texts
        assert set(region["value"]["choices"]) <= set(allowed)
        assert prediction["score"] >= 0.5
        assert prediction["model_version"] == "flipkd-m1"
    assert [task["predictions"][0]["result"][0]["value"]["choices"] for task in tasks] == [["no_match"], ["match"]]


def test_votes_of_an_export_keep_annotators_and_the_last_word_of_each(pairs):
    tasks = [{"id": n, **task} for n, task in enumerate(label_studio.tasks(pairs))]
    tasks[0]["annotations"] = [
        annotation("no_match", 3, updated_at="2026-01-02T10:00:00Z"),
        annotation("match", 3),
        annotation("match", {"id": 4, "email": "ann@example.org"}),
    ]
    tasks[1]["annotations"] = [annotation("match", 3, was_cancelled=True), annotation("match", None, result=[])]
    tasks[2]["annotations"] = []
    assert label_studio.is_export(tasks[0])
    assert list(label_studio.votes(tasks)) == [
        Vote(key_of(0), "label-studio-3", 1),
        Vote(key_of(0), "ann@example.org", 1),
        Vote(key_of(0), "label-studio-3", 0),
        Vote(key_of(1), "label-studio-3", None),
    ]


def test_votes_of_json_min_and_of_tasks_without_key():
    row = {"text1": "left 2", "text2": "right 2", "label": "match", "annotator": 5, "annotation_id": 9, "id": 1}
    assert label_studio.is_export(row)
    assert list(label_studio.votes([row, row | {"label": None}])) == [Vote(key_of(2), "label-studio-5", 1)]


def test_label_studio_votes_refuse_a_choice_of_another_configuration(pairs):
    [task] = label_studio.tasks(pairs[:1])
    with pytest.raises(DataError, match=re.escape("an annotation of Label Studio: got 'maybe'")):
        list(label_studio.votes([task | {"annotations": [annotation("maybe", 1)]}]))
