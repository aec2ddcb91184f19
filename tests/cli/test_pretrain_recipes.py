"""The pre-training recipes, in YAML and as shell lines: the same options, all known, and they train at tiny size."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.dataclass.initialize import add_defaults, hydra_init
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.cli.commands import ROOT, command, logged, run, shell_path

FOLDER = ROOT / "examples" / "pretrain"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# Tiny, in float32 and without weights: flags for the shell line, of which a recipe gets those that it has, and the
# same for YAML.
SMALL = {
    "--arch": ("model._name", "mvlm_tiny"),
    "--image-encoder-weights": ("model.image_encoder_weights", ""),
    "--text-encoder-weights": ("model.text_encoder_weights", ""),
    "--autocast": ("task.autocast", ""),
    "--feature-cache-chunk": ("task.feature_cache_chunk", "4"),
    "--batch-size": ("dataset.batch_size", "8"),
    "--num-workers": ("dataset.num_workers", "0"),
    "--max-update": ("optimization.max_update", "2"),
    "--warmup-updates": ("lr_scheduler.warmup_updates", "1"),
    "--log-interval": ("common.log_interval", "1"),
}
SECTIONS = ("task", "model", "criterion", "optimizer", "lr_scheduler", "optimization", "dataset", "checkpoint")
# Paths, and names that the two roads write differently.
DIFFERENT = {"_name", "data", "save_dir"}


def script(name: str) -> str:
    return (FOLDER / f"{name}.sh").read_text()


def flags(name: str) -> list[str]:
    return [flag for flag in SMALL if f"{flag} " in script(name)]


def overrides(name: str, data: str, folder: Path) -> list[str]:
    small = [f"{key}='{value}'" if value == "" else f"{key}={value}" for key, value in map(SMALL.get, flags(name))]
    switches = ["common.cpu=true", f"common.tensorboard_logdir={folder}/tensorboard", "dataset.disable_validation=true"]
    return [*small, *switches, f"task.data={data}", f"checkpoint.save_dir={folder}"]


def options_of(cfg: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value for section in SECTIONS for key, value in cfg[section].items() if key not in DIFFERENT
    } | {"model._name": cfg["model"]["_name"], "common.seed": cfg["common"]["seed"]}


@pytest.mark.parametrize("name", NAMES)
def test_recipe_trains_and_says_the_same_in_yaml(
    name: str, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ((FOLDER / f"{name}.yaml").read_text(), script(name).partition("\n")[2]):
        assert text.startswith("# Launch:")
        assert "# Needs:" in text
        assert "# Cost:    an estimate, this was not run" in text
    data_bins = script(name).partition("DATA=${DATA:-")[2].partition("}")[0].split(":")
    data = ":".join([str(scenes)] * len(data_bins))
    small = [word for flag in flags(name) for word in (flag, SMALL[flag][1])]
    environment = {"DATA": data, "OUT": str(tmp_path), "PATH": shell_path()}
    output = run(["bash", str(FOLDER / f"{name}.sh"), *small, "--cpu", "--disable-validation"], **environment)
    assert len(logged(output, "train_inner")) == 2
    trained = torch.load(tmp_path / "checkpoints" / "checkpoint_last.pt", weights_only=True)["cfg"]

    monkeypatch.setenv("PWD", str(ROOT))
    hydra_init(name)
    with initialize_config_dir(str(FOLDER), version_base="1.1"):
        assert compose(name).task.data == ":".join(f"{ROOT}/{data_bin}" for data_bin in data_bins)
        recipe = compose(name, overrides(name, data, tmp_path))
    add_defaults(recipe)
    composed = OmegaConf.to_container(recipe, resolve=True, enum_to_str=True)
    assert options_of(composed) == options_of(trained)


def test_yaml_recipe_trains(scenes: Path, tmp_path: Path) -> None:
    line = ["--config-dir", FOLDER, "--config-name", "cpu", *overrides("cpu", str(scenes), tmp_path)]
    output = run(command("fairseq-hydra-train", *line, f"hydra.run.dir={tmp_path}"))
    output += "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert logged(output, "train_inner")
    assert (tmp_path / "checkpoint_last.pt").exists()
