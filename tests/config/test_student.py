"""Settings of an untrained student: those of a training run extend them."""

from __future__ import annotations

import pytest

from flipkd.config import StudentConfig, TrainConfig
from flipkd.errors import ConfigError
from flipkd.student.prompt import Template


def test_train_config_has_every_student_setting_with_the_same_default():
    student, train = StudentConfig(), TrainConfig.check({"train_file": "a.csv", "validation_file": "b.csv"})
    assert {name: getattr(train, name) for name in StudentConfig.model_fields} == student.model_dump()
    assert not {"teacher", "objectives", "seed"} & StudentConfig.model_fields.keys()


def test_student_config_accepts_every_field_of_the_template_as_a_key():
    fields = dict.fromkeys(Template.__dataclass_fields__, "x")
    assert (
        StudentConfig.build(None, (), {"template": [f"{key}={value}" for key, value in fields.items()]}).template
        == fields
    )


@pytest.mark.parametrize(
    "values, message",
    [
        ({"dtype": "int8"}, "dtype is 'int8'; write 'bfloat16'"),
        ({"reading": "both"}, "reading is 'both'"),
        ({"lora_r": 0}, "lora_r is 0"),
        ({"readout_layers": []}, r"readout_layers is \[\]"),
        ({"lora_dropout": 1.0}, "lora_dropout is 1.0"),
        ({"lora_rank": 8}, "no setting is called 'lora_rank'; did you mean"),
    ],
)
def test_student_config_refuses_values_out_of_range(values, message):
    with pytest.raises(ConfigError, match=message):
        StudentConfig.check(values)
