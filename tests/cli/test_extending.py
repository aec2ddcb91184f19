"""Components and architectures of another user-dir, and the YAML recipes."""

from pathlib import Path

import pytest

from tests.cli.commands import ROOT, command, logged, run, train_command

EXTENSION = '''
from dataclasses import dataclass

import torch
from torch import nn

from mvlm_plugin import MvlmConfig, register_architecture, register_image_encoder


class MeanColourEncoder(nn.Module):
    """One token a 16-pixel patch: its mean colour, embedded."""

    def __init__(self, width):
        super().__init__()
        self.width, self.patch_size = width, 16
        self.embed = nn.Linear(3, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, images, image_mask=None):
        x = self.embed(nn.functional.avg_pool2d(images, 16).flatten(2).transpose(1, 2))
        if image_mask is not None:
            x = x.repeat(image_mask.size(0) // x.size(0), 1, 1)
            x = torch.where(image_mask[..., None], self.mask_token, x)
        return torch.cat([self.cls_token.expand(x.size(0), -1, -1) + x.mean(1, keepdim=True), x], dim=1)


@register_image_encoder("mean_colour")
def build(cfg):
    return MeanColourEncoder(48)


@register_architecture("colours")
@dataclass
class ColoursConfig(MvlmConfig):
    image_encoder: str = "mean_colour"
    text_encoder: str = "roberta_tiny"
    image_size: int = 64
    image_mask_block: int = 16
    fusion_width: int = 64
    fusion_heads: int = 2
    fusion_layers: int = 1
    decoder_layers: int = 1
'''


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    folder = tmp_path / "my_extension"
    folder.mkdir()
    (folder / "__init__.py").write_text(EXTENSION)
    return folder


def test_another_user_dirs_architecture_trains_and_validates(scenes: Path, extension: Path, tmp_path: Path) -> None:
    options = ["--user-dir", extension, "--arch", "colours", "--fusion-layers", 2]
    log = run(train_command(scenes, tmp_path / "save", *options, updates=2))
    assert len(logged(log, "train_inner")) == 2
    assert "fusion.image_stream" in log or "(image_stream)" in log
    arguments = [scenes, "--user-dir", extension, "--task", "joint_masked_vl", "--batch-size", 64, "--cpu"]
    arguments += ["--path", tmp_path / "save" / "checkpoint_last.pt", "--valid-subset", "test", "--log-format", "json"]
    assert float(logged(run(command("fairseq-validate", *arguments)), "test")[0]["test_pairs"]) == 60


def test_another_user_dirs_encoder_composes_with_our_architecture(
    scenes: Path, extension: Path, tmp_path: Path
) -> None:
    options = ["--user-dir", extension, "--image-encoder", "mean_colour", "--disable-validation"]
    assert len(logged(run(train_command(scenes, tmp_path / "save", *options, updates=1)), "train_inner")) == 1


# Those of examples/pretrain are too large to be run as they stand: see test_pretrain_recipes.py.
# Others are tested in test_pretrain_recipes.py; fairseq does not read the settings of studies, tested in tests/study.
RECIPES = sorted(path for path in (ROOT / "examples").glob("*/*.yaml") if path.parent.name != "pretrain")


@pytest.mark.parametrize("recipe", RECIPES, ids=[path.stem for path in RECIPES])
def test_yaml_recipe_trains(recipe: Path, scenes: Path, tmp_path: Path) -> None:
    assert "Launch:" in recipe.read_text().splitlines()[0]
    overrides = [f"task.data={scenes}", "optimization.max_update=2", "common.log_interval=1", "dataset.batch_size=8"]
    overrides += [
        f"checkpoint.save_dir={tmp_path}/save",
        f"hydra.run.dir={tmp_path}",
        "dataset.disable_validation=true",
    ]
    overrides += ["common.tensorboard_logdir=null"]
    log = run(command("fairseq-hydra-train", "--config-dir", recipe.parent, "--config-name", recipe.stem, *overrides))
    log += "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert logged(log, "train_inner"), log[-3000:]
    assert (tmp_path / "save" / "checkpoint_last.pt").exists()
