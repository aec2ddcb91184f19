"""bfloat16 by autocast. On a CPU at tiny size: bfloat16 is slow there, and what is shown is what it computes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import Tensor, nn

from mvlm_plugin.losses.contrastive import contrastive_losses
from mvlm_plugin.losses.masked import mim_losses, mlm_losses
from mvlm_plugin.losses.matching import matching_losses
from mvlm_plugin.losses.negatives import similarities
from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.tasks.joint_masked_vl import JointMaskedVLTask
from tests.cli.commands import logged, run, train_command
from tests.helpers import make_batch, make_criterion, write_databin
from tests.tasks.test_joint_masked_vl import build, make_task, validate


class PlainOptimizer:
    """What fairseq's step asks of an optimizer."""

    def backward(self, loss: Tensor) -> None:
        loss.backward()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_databin(tmp_path / "databin", images=8)


def train(task: JointMaskedVLTask, model: nn.Module, sample: dict[str, Any], criterion: Any = None) -> dict[str, Any]:
    """One call of the task's step, with the same negatives every time; gradients are left at the parameters."""
    torch.manual_seed(1)
    loss, _, log = task.train_step(sample, model, criterion or make_criterion(), PlainOptimizer(), 1)
    assert loss.dtype == torch.float32
    return log


@pytest.mark.parametrize("chunk", [0, 2], ids=["whole", "cached features"])
def test_a_step_is_near_the_float32_step_with_float32_weights_and_gradients(folder: Path, chunk: int) -> None:
    logs, gradients = [], []
    for autocast in ("", "bf16"):
        task = make_task(folder, autocast=autocast, feature_cache_chunk=chunk)
        torch.manual_seed(0)
        model = build(task)
        logs.append(train(task, model, make_batch(model.cfg)))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name in ("mlm_loss", "mim_loss", "itc_loss", "itm_loss"):
        assert logs[1][name].dtype == torch.float32
        assert logs[1][name].item() == pytest.approx(logs[0][name].item(), rel=0.03)
        assert logs[1][name] != logs[0][name], "autocast was not on"
    assert gradients[1].dtype == torch.float32
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize(("autocast", "expected"), [("", torch.float32), ("bf16", torch.bfloat16)])
def test_the_model_multiplies_in_bfloat16_in_training_and_validation(
    folder: Path, autocast: str, expected: torch.dtype
) -> None:
    task = make_task(folder, autocast=autocast)
    model = build(task)
    task.load_dataset("valid")
    seen: list[torch.dtype] = []
    model.image_encoder.blocks[0].feed_forward[0].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    train(task, model, make_batch(model.cfg))
    assert set(seen) == {expected}
    seen.clear()
    figures = validate(task, model)
    assert set(seen) == {expected}
    assert math.isfinite(figures["loss"])


def test_fairseqs_own_switch_does_not_reach_the_criterion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU fairseq's step turns autocast off around the criterion; the same is done here for the CPU."""

    class Off(torch.autocast):
        def __init__(self, enabled: bool) -> None:
            super().__init__("cpu", enabled=enabled)

    monkeypatch.setattr(torch.cuda.amp, "autocast", Off)
    task = make_task(folder, autocast="bf16")
    model = build(task)
    inner = make_criterion()
    seen = []

    def criterion(*inputs: Any) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return inner(*inputs)

    criterion.weights = inner.weights
    train(task, model, make_batch(model.cfg), criterion)
    assert seen == [True]


def with_autocast(function: Any, *inputs: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return function(*inputs)


def test_similarities_and_losses_are_those_of_float32() -> None:
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 16), dim=1) for _ in range(2))
    ids, temperature = torch.tensor([0, 1, 2, 3, 3, 4]), torch.tensor(0.07)
    cases = [
        (similarities, images, texts, temperature),
        (lambda *inputs: contrastive_losses(*inputs).loss, images, texts, temperature, ids),
        (mlm_losses, torch.randn(4, 9), torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 7, 9]), 2, 5),
        (mim_losses, torch.randn(2, 4, 6), torch.randn(2, 4, 6), torch.rand(2, 4) < 0.5),
        (matching_losses, torch.randn(3, 2), torch.tensor([1, 0, 0]), torch.tensor([True, True, False])),
    ]
    for function, *inputs in cases:
        actual = with_autocast(function, *inputs)
        assert actual.dtype == torch.float32
        assert torch.equal(actual, function(*inputs))


@pytest.mark.parametrize("chunk", [0, 2], ids=["whole", "cached features"])
def test_similarities_are_differentiated_in_float32(folder: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def watched(images: Tensor, texts: Tensor, temperature: Tensor) -> Tensor:
        images = images.clone()
        images.register_hook(seen.append)
        return similarities(images, texts, temperature)

    monkeypatch.setattr("mvlm_plugin.losses.contrastive.similarities", watched)
    task = make_task(folder, autocast="bf16", feature_cache_chunk=chunk)
    model = build(task)
    train(task, model, make_batch(model.cfg))
    assert len(seen) == 2
    for gradient in seen:
        assert not torch.equal(gradient, gradient.bfloat16().float()), "it was computed in bfloat16"


def test_embeddings_are_projected_in_float32(folder: Path) -> None:
    model: MvlmModel = build(make_task(folder))
    features = torch.randn(3, 17, 128)
    assert torch.equal(with_autocast(model.embed_image, features), model.embed_image(features))
    assert torch.equal(with_autocast(model.embed_text, features), model.embed_text(features))


def test_the_loss_falls(folder: Path) -> None:
    task = make_task(folder, autocast="bf16")
    model = build(task)
    sample = make_batch(model.cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        losses.append(train(task, model, sample)["loss"].item())
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_an_unknown_type_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="--autocast fp8: unknown; the one choice is bf16"):
        make_task(folder, autocast="fp8")


@pytest.mark.parametrize("name", ["fp16", "bf16", "amp"])
def test_fairseqs_own_types_are_refused_on_the_command_line(folder: Path, name: str) -> None:
    parser = options.get_training_parser()
    arguments = [str(folder), "--task", "joint_masked_vl", "--arch", "mvlm_tiny", "--criterion", "joint_masked_vl"]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, [*arguments, f"--{name}"]))
    with pytest.raises(ValueError, match=f"--{name} does not work with this task; use --autocast bf16 instead"):
        tasks.setup_task(cfg.task)


def test_fairseq_train_runs_with_it(folder: Path, tmp_path: Path) -> None:
    small = ("--image-size", 32, "--image-encoder", "vit_tiny_patch8", "--disable-validation", "--no-save")
    output = run(train_command(folder, tmp_path / "run", *small, "--autocast", "bf16", updates=2, batch=4))
    losses = [float(entry["loss"]) for entry in logged(output, "train_inner")]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
