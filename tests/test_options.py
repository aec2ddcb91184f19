"""The list of options shows what fairseq-train takes."""

import pytest

from mvlm_plugin.models.architectures import ARCHITECTURES
from mvlm_plugin.options import describe, main


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_option_is_listed_with_help_and_the_architectures_default(architecture: str) -> None:
    text = " ".join(describe("joint_masked_vl", architecture).split())
    for option in (
        "--image-size",
        "--image-mask-ratio",
        "--mask-both",
        "--train-crop-scale",
        "--mim-weight",
        "--weight-ema",
    ):
        assert option in text
    size = {"mvlm_tiny": 64, "mvlm_mini": 128, "mvlm_lite": 192}.get(architecture, 224)
    assert f"image height and width in pixels (default: {size})" in text


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("vl_retrieval", ("--texts-per-image", "--criterion vl_retrieval", "--mlm-weight MLM_WEIGHT")),
        ("vl_vqa", ("--num-answers", "--label-loss", "--shuffled-images")),
        ("vl_nlvr2", ("--image-parts", "--criterion vl_classification")),
        ("vl_entailment", ("--label-field", "--autocast")),
    ],
)
def test_the_options_of_every_task_are_listed(task: str, options: tuple[str, ...]) -> None:
    text = " ".join(describe(task, "mvlm_tiny").split())
    for option in (f"--task {task}", *options):
        assert option in text


def test_component_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--arch", "mvlm_tiny"]) == 0
    printed = capsys.readouterr().out
    assert "image decoder: cross_attention, linear" in printed
    assert "roberta_base" in printed


def test_an_unknown_architecture_lists_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--arch", "mvlm_huge"])
    assert "mvlm_large" in capsys.readouterr().err
