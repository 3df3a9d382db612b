"""Label Studio: tasks with predictions, the labelling configuration for them, and the votes of its JSON exports.

Formats: https://labelstud.io/guide/task_format and https://labelstud.io/guide/predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flipkd.data.labels import label_at
from flipkd.errors import DataError
from flipkd.review.queue import QueuedPair, Vote
from flipkd.review.sampling import pair_key

LABEL, LEFT, RIGHT = "label", "text1", "text2"  # names of tags and of fields of `data`
CONFIG = f"""<View>
  <Header value="Do these two texts match?"/>
  <Text name="{LEFT}" value="${LEFT}"/>
  <Text name="{RIGHT}" value="${RIGHT}"/>
  <Choices name="{LABEL}" toName="{LEFT}" choice="single" showInline="true" required="true">
    <Choice value="match" hotkey="m"/>
    <Choice value="no_match" hotkey="n"/>
  </Choices>
</View>
"""


def tasks(pairs: Sequence[QueuedPair]) -> list[dict[str, Any]]:
    """Return a task for each pair, in the format that Label Studio imports; the prediction is the likelier label."""
    return [
        {
            "data": {
                "key": pair.key,
                LEFT: pair.text1,
                RIGHT: pair.text2,
                "score": pair.score,
                "probability": pair.probability,
                "decision": pair.decision,
                "reason": pair.reason,
            },
            "predictions": [
                {
                    "model_version": f"flipkd-{pair.matcher}",
                    "score": max(pair.probability, 1 - pair.probability),
                    "result": [
                        {
                            "id": pair.key[:10],
                            "from_name": LABEL,
                            "to_name": LEFT,
                            "type": "choices",
                            "value": {"choices": ["match" if pair.probability >= 0.5 else "no_match"]},
                        }
                    ],
                }
            ],
        }
        for pair in pairs
    ]


def is_export(first: Mapping[str, Any]) -> bool:
    """True for a task of an export as JSON or as JSON-MIN."""
    return ("data" in first and "annotations" in first) or "annotation_id" in first


def votes(exported: Sequence[Mapping[str, Any]]) -> Iterator[Vote]:
    """Iterate over the votes of an export; later ones of the same annotator come later. A cancelled annotation is a skip.

    Raises DataError for a choice that is not one of the configuration.
    """
    for task in exported:
        if "annotation_id" in task:  # JSON-MIN: one object per annotation, without cancelled ones
            if task.get(LABEL) is not None:
                yield Vote(_key(task), _annotator(task.get("annotator")), _label(task[LABEL]))
            continue
        made = sorted(task.get("annotations") or [], key=lambda one: str(one.get("updated_at") or ""))
        for annotation in made:
            annotator = _annotator(annotation.get("completed_by"))
            if annotation.get("was_cancelled"):
                yield Vote(_key(task["data"]), annotator, None)
            for part in annotation.get("result") or [] if not annotation.get("was_cancelled") else []:
                if part.get("type") == "choices" and part.get("from_name") == LABEL:
                    yield Vote(_key(task["data"]), annotator, _label(part["value"]["choices"][0]))


def _key(data: Mapping[str, Any]) -> str:
    return str(data.get("key") or pair_key(str(data[LEFT]), str(data[RIGHT])))


def _annotator(value: Any) -> str:
    """Return the address of an annotator, or a name made of the number that Label Studio gives."""
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("id")
    return value if isinstance(value, str) and value else f"label-studio-{value}"


def _label(value: Any) -> int:
    label = label_at(value, "an annotation of Label Studio")
    if label is None:
        raise DataError("an annotation of Label Studio has an empty choice; export the project again")
    return label
