"""Systems and variants as settings: changes, overrides in result files, rejected names."""

from __future__ import annotations

import pytest

from flipkd.comparison.entries import entries, short_hash
from flipkd.config import CompareConfig, TrainConfig
from flipkd.errors import ConfigError

FILES = {f"{name}_file": f"{name}.csv" for name in ("train", "validation", "test")}
SHARED = {"train_file": "train.csv", "validation_file": "validation.csv", "seed": 3}


def listed(**settings):
    return entries(CompareConfig.check(FILES | settings))


def test_entry_has_the_settings_of_its_system():
    plain, flipped, teacher, cross = listed(systems=["plain", "flipped", "teacher", "cross_encoder", "plain"])
    assert plain.train_config(SHARED).objectives == {"answer_cross_entropy": 1.0}
    assert len(flipped.train_config(SHARED).objectives) > 1
    assert not teacher.teach_config(SHARED).fine_tune
    (tuned,) = listed(systems=["teacher_finetuned"], teach={"fine_tune": False})
    assert tuned.teach_config(SHARED).fine_tune is True, "the name says what it is"
    (tuned,) = listed(systems=["teacher_finetuned"])
    assert tuned.teach_config(SHARED).fine_tune == "auto", "the same encoder as the teacher of flipped"
    assert tuned.teach_config(SHARED) == flipped.teach_config(SHARED)
    assert cross.teach_config(SHARED).teacher_type == "cross_encoder"
    assert plain.overrides == flipped.overrides == {}


def test_train_config_gives_plain_as_many_steps_as_flipped():
    def epochs(variant=(), **settings) -> tuple[float, float]:
        (plain,) = listed(systems=["mine"], variants={"mine": ["system=plain", *variant]}, **settings)
        config = plain.train_config(SHARED)
        return config.num_train_epochs, config.mined_ratio

    assert epochs() == (4, 0)
    assert epochs(["num_train_epochs=1", "mined_ratio=0.5"]) == (1.5, 0)
    assert epochs(["mined_ratio=0"]) == (2, 0)
    assert epochs(teach={"teacher_type": "cross_encoder"}) == (2, 0)  # gives no vectors, so nothing is mined
    (flipped,) = listed(systems=["flipped"])
    assert flipped.train_config(SHARED).num_train_epochs == 2


def test_train_config_gives_controls_as_many_steps_as_flipped():
    half = {"mined_ratio": 0.5}
    paper, answer = (entry.train_config(SHARED) for entry in listed(systems=["paper", "answer_kd"], train=half))
    assert (paper.num_train_epochs, paper.mined_ratio) == (3, 0)  # no mined pairs, so more passes
    assert (answer.num_train_epochs, answer.mined_ratio) == (2, 0.5)
    assert (paper.lora_r, paper.readout_r, paper.lora_alpha / paper.lora_r) == (256, 256, 2)
    assert "pairwise_pref_kl" not in paper.objectives
    assert set(answer.objectives) == {"answer_cross_entropy", "pairwise_pref_kl"}


@pytest.mark.parametrize("system", ["plain", "no_teacher", "shuffled_teacher"])
def test_the_other_teachers_of_flipped_teach_no_system_without_a_teacher(system):
    several = {"other_teachers": ["a", "b"], "pair_weights": "trust"}
    flipped, own = (entry.train_config(SHARED) for entry in listed(systems=["flipped", system], train=several))
    assert (flipped.other_teachers, own.other_teachers) == (["a", "b"], [])
    assert own.pair_weights == ("trust" if system == "shuffled_teacher" else "equal"), "an error without a teacher"


def test_train_config_of_shuffled_teacher_equals_flipped():
    flipped, shuffled = listed(systems=["flipped", "shuffled_teacher"], train={"lora_r": 4})
    kept = {"keep_teacher": False}
    assert shuffled.train_config(SHARED) == flipped.train_config(SHARED).model_copy(update=kept)
    assert shuffled.teach_config(SHARED) == flipped.teach_config(SHARED)
    same = flipped.identity(SHARED)
    assert shuffled.identity(SHARED) == same | {"system": "shuffled_teacher", "train": same["train"] | kept}
    assert not [name for name in TrainConfig.model_fields if "shuffle" in name]


def test_entries_put_blends_after_their_parts():
    names = ["plain+mine+teacher", "plain", "mine+plain"]
    found = listed(systems=names, variants={"mine": ["lora_r=4"]})
    assert [entry.name for entry in found] == ["plain", "mine", "teacher", *names[::2]]
    assert [part.name for part in found[3].parts] == ["plain", "mine", "teacher"]
    assert (found[3].system.name, found[3].overrides) == (found[3].name, {})
    (changed,) = listed(systems=names[:1], variants={"mine": ["lora_r=5"]})[3:]
    assert found[3].identity(SHARED) != changed.identity(SHARED)
    assert found[3].identity(SHARED) == listed(systems=names[:1], variants={"mine": ["lora_r=4"]})[3].identity(SHARED)


def test_overrides_hold_the_changes_of_a_variant():
    own = {"train": {"max_text_length": 64}, "teach": {"max_length": 64}}
    (flipped,) = listed(systems=["flipped"], **own)
    assert flipped.overrides == {}
    assert flipped.train_config(SHARED).max_text_length == 64
    arguments = ["max_text_length=64", "lora_r=4", "teach.max_length=32"]
    (mine,) = listed(systems=["mine"], variants={"mine": arguments}, **own)
    assert mine.overrides == {"lora_r": 4, "teach.max_length": 32}
    (plain,) = listed(systems=["mine"], variants={"mine": [*arguments[:2], "system=plain"]}, **own)
    assert plain.overrides == {"lora_r": 4}


def test_variant_changes_the_given_settings():
    arguments = ["teach.loss=contrastive", "lora_r=4", "objectives.margin_hinge=0"]
    (mine,) = listed(systems=["mine"], variants={"mine": arguments}, train={"lora_r": 8, "lora_alpha": 8})
    assert (mine.name, mine.system.name) == ("mine", "flipped")
    config = mine.train_config(SHARED)
    assert (config.lora_r, config.lora_alpha, config.seed) == (4, 8, 3)
    assert config.objectives["margin_hinge"] == 0
    assert config.objectives["answer_cross_entropy"] == 1
    assert mine.teach_config(SHARED).loss == "contrastive"
    assert mine.overrides["teach.loss"] == "contrastive"


def test_entries_have_a_variant_with_folds_members_and_pool():
    arguments = [
        "teach.folds=5",
        "teach.members=2",
        "teach.fine_tune=auto",
        "unlabelled_file=pool.csv",
        "mining=stratified",
    ]
    (mine,) = listed(systems=["mine"], variants={"mine": arguments})
    config = mine.teach_config(SHARED)
    assert (config.folds, config.members, config.fine_tune) == (5, 2, "auto")
    assert mine.train_config(SHARED).unlabelled_file == "pool.csv"
    assert "pool.csv" not in str(mine.identity(SHARED)["train"])
    (plain,) = listed(systems=["mine"], variants={"mine": ["system=plain", "unlabelled_file=pool.csv"]})
    assert plain.train_config(SHARED).unlabelled_file is None


def test_identity_has_defaults_and_no_paths():
    (flipped,) = listed(systems=["flipped"])
    (plain,) = listed(systems=["plain"])
    one, other = flipped.identity(SHARED), flipped.identity(SHARED | {"train_file": "elsewhere/train.csv"})
    assert one == other
    assert one["train"]["learning_rate"] > 0
    assert "teach" not in plain.identity(SHARED)
    assert short_hash(one) == short_hash(dict(reversed(one.items()))) != short_hash(plain.identity(SHARED))


def test_entries_rejects_bad_names_and_settings():
    with pytest.raises(ConfigError, match="no system is called 'flip'; did you mean 'flipped'"):
        listed(systems=["flip"])
    with pytest.raises(ConfigError, match="no system is called ''"):
        listed(systems=["plain+"])
    with pytest.raises(ConfigError, match=r"duplicate part in the blend plain\+plain"):
        listed(systems=["plain+plain"])
    with pytest.raises(ConfigError, match=r"variants: 'a\+b' is not usable in file names"):
        listed(variants={"a+b": []})
    with pytest.raises(ConfigError, match=r"variants\.plain: plain is the name of a system"):
        listed(variants={"plain": []})
    with pytest.raises(ConfigError, match="variants: 'lr/1e-4' is not usable in file names"):
        listed(variants={"lr/1e-4": []})
    for arguments, expected in (
        (["system=plain", "teach.max_length=32"], "teach.max_length has no effect on the system plain"),
        (["system=tfidf", "train_file=few.csv"], "train_file has no effect on the system tfidf"),
        (
            ["system=plain", "objectives.answer_cross_entropy=0.1"],
            "objectives is fixed to .* in the system plain",
        ),
        (
            ["system=teacher_finetuned", "teach.fine_tune=false"],
            "fine_tune is fixed to True in the system teacher_finetuned",
        ),
    ):
        with pytest.raises(ConfigError, match=r"variants\.mine: " + expected):
            listed(systems=["mine"], variants={"mine": arguments})
    with pytest.raises(ConfigError, match=r"train\.seed cannot be set here.*see seeds"):
        listed(train={"seed": 5})
    with pytest.raises(ConfigError, match=r"teach\.output_dir cannot be set here"):
        listed(systems=["mine"], variants={"mine": ["teach.output_dir=x"]})
    for arguments, expected in (
        (["system=plain", "stages=[{num_train_epochs: 1}]"], "stages are for the system flipped, not for plain"),
        (["stages=[{train_file: other.csv}]"], "a stage sets train_file; in a comparison set it outside of stages"),
    ):
        with pytest.raises(ConfigError, match=r"variants\.mine: " + expected):
            listed(systems=["mine"], variants={"mine": arguments})
    [staged] = listed(
        systems=["mine"], variants={"mine": ["stages=[{unlabelled_file: null}, {teacher: previous_stage}]"]}
    )
    assert len(staged.identity(SHARED)["train"]["stages"]) == 2
    with pytest.raises(ConfigError, match="no setting is called 'lora_q'"):
        listed(systems=["mine"], variants={"mine": ["lora_q=4"]})[0].train_config(SHARED)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"train": {"lora_r": "x"}}, "flipped, settings of train: lora_r is 'x'"),
        ({"teach": {"max_length": 0}}, "flipped, settings of teach: max_length is 0"),
    ],
)
def test_identity_names_the_system_and_the_command_of_a_wrong_setting(changes, expected):
    (entry,) = listed(systems=["flipped"], **changes)
    with pytest.raises(ConfigError, match=expected):
        entry.identity(SHARED)
