"""Every command of docs/data.md, in its order, on small files in the official formats."""

import json
import shlex
from pathlib import Path

import pytest

from data_prep.cli import main
from tests.cli.commands import ROOT
from tests.cli.documents import DATA_GUIDE, documented_commands, in_folder, run_python, smaller
from tests.cli.official_sources import write_all


def test_every_command_of_the_data_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path)
    (tmp_path / "mvlm_plugin").symlink_to(ROOT / "mvlm_plugin")
    monkeypatch.chdir(tmp_path)
    for line in documented_commands(DATA_GUIDE):
        program, *arguments = shlex.split(line)
        if program == "mvlm-prep":
            assert main(arguments) == 0, line
        else:
            in_folder(tmp_path, smaller(line))
    run_python(DATA_GUIDE, tmp_path)
    manifests = {path.parent.name: json.loads(path.read_text()) for path in Path("data-bin").glob("*/manifest.json")}
    train = {name: manifest["splits"]["train"]["images"] for name, manifest in manifests.items()}
    # dataset_coco.json holds COCO's 12 out of the split train2017; of Visual Genome two are COCO's 13 and 14.
    assert train["coco"] == 11
    assert manifests["coco"]["excluded"]["dataset_coco.json"]["ids"] == 1
    assert train["visual-genome"] == 8
    assert (train["sbu"], train["cc3m"], train["cc3m-loose"], train["flickr30k"]) == (8, 32, 8, 8)
    assert manifests["cc3m-loose"]["rejected"]["by_reason"] == {"missing image": 2}
    assert train["cc3m-sharded"] == train["cc3m-jobs"] == train["cc3m-ray"] == 32
    assert train["from-jsonl"] == train["from-csv"] == train["my-photos"] == 7
    assert sorted(manifests["vqa"]["splits"]["train"]["fields"]) == [
        "answer_type", "answers", "multiple_choice_answer", "question_id", "question_type",
    ]  # fmt: skip
    assert manifests["nlvr2"]["splits"]["train"]["images_per_text"] == 2
    assert manifests["snli-ve"]["splits"]["valid"]["fields"]["label"]["missing"] == 0
    assert manifests["questions"]["splits"]["train"]["fields"]["answer"]["type"] == "string"
    for name in ("overlap.png", "overlap.json", "stats.json", "stats.html", "picture.png"):
        assert Path(name).stat().st_size > 100
