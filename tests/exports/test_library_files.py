"""The files of a model of several modules are those that sentence-transformers reads."""

from pathlib import Path

from flipkd.exports.library_files import write_library_files
from flipkd.files import read_json


class Score:
    def save(self, folder):
        (Path(folder) / "saved").touch()


def test_files_name_every_module_in_order_and_the_versions(tmp_path):
    write_library_files(
        tmp_path,
        modules=[Score()],
        transformer_class="a.Transformer",
        transformer={"module_output_name": "logits"},
        model_type="CrossEncoder",
        settings={"prompts": {}},
    )
    assert (tmp_path / "1_Score" / "saved").exists()
    entries = read_json(tmp_path / "modules.json")
    assert [(entry["idx"], entry["path"], entry["type"]) for entry in entries] == [
        (0, "", "a.Transformer"),
        (1, "1_Score", f"{__name__}.Score"),
    ]
    assert read_json(tmp_path / "sentence_bert_config.json") == {"module_output_name": "logits"}
    about = read_json(tmp_path / "config_sentence_transformers.json")
    assert (about["model_type"], about["prompts"]) == ("CrossEncoder", {})
    assert set(about["__version__"]) == {"sentence_transformers", "transformers", "pytorch"}
