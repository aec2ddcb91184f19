"""``mvlm-plan``: what training an architecture takes, before it is started: memory, batch, time, learning rate."""

import argparse
import json
import sys
from typing import Any

import torch
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import MODEL_DATACLASS_REGISTRY

from .criterions.joint_masked_vl import JointMaskedVLCriterionConfig
from .models.architectures import ARCHITECTURES
from .planning.report import describe
from .planning.schedule import Machine, make_plan
from .planning.speed import MEASURED_SHARE, matmul_rate
from .planning.step import DEFAULT_TOKENS, DEFAULT_VOCABULARY, StepOptions
from .planning.units import parse_amount

EPILOG = f"""
Memory is counted, not guessed: forward and backward run on tensors without contents, every tensor is followed from its
making to its end, and the highest sum is shown, by part. Without a GPU at hand the kernels of the CPU stand in for its
kernels. A tenth of the memory is left to the device's context and the allocator's gaps.

examples:
  mvlm-plan --arch mvlm_base --gpus 8 --memory 80G --batch 512 --autocast bf16 --flops 400T
  mvlm-plan --arch mvlm_base --gpus 1 --memory 24G --batch 4096 --feature-cache-chunk 32 --checkpoint-activations all
  mvlm-plan --arch mvlm_small --image-encoder vit_tiny_patch16 --gpus 1 --memory 8G --measure --json

Every option of the model and of the criterion is understood too: python -m mvlm_plugin.options --arch A lists them.
--measure times a matrix product here and takes {MEASURED_SHARE:.0%} of its rate, which is what a step reaches.
"""


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, StepOptions, dict[str, Any]]:
    """Own options, those of the step, and the model and criterion options that differ from the architecture's."""
    parser = argparse.ArgumentParser(
        prog="mvlm-plan", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", required=True, choices=sorted(ARCHITECTURES), help="named architecture")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs of the whole job (default: 1)")
    parser.add_argument("--memory", required=True, type=parse_amount, help="of one GPU, e.g. 80G (1G = 1024M)")
    parser.add_argument("--batch", type=int, default=0, help="pairs an update, of all GPUs; default: as many as fit")
    parser.add_argument("--tokens", type=int, default=DEFAULT_TOKENS, help="of a caption, <s> and </s> counted")
    parser.add_argument("--vocab", type=int, default=DEFAULT_VOCABULARY, help="entries of the dictionary")
    parser.add_argument("--autocast", default="", choices=["", "bf16"], help="as in fairseq-train")
    parser.add_argument(
        "--feature-cache-chunk", type=int, default=0, help="as in fairseq-train; a pair sees the whole batch"
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--flops",
        type=lambda text: parse_amount(text, 1000),
        help="FLOP/s that one GPU sustains in training, e.g. 400T",
    )
    rate.add_argument("--measure", action="store_true", help="measure the rate on this machine instead")
    parser.add_argument("--json", action="store_true", help="print JSON: bytes, seconds, FLOPs")
    arguments, rest = parser.parse_known_args(argv)
    configs = (MODEL_DATACLASS_REGISTRY[arguments.arch](), JointMaskedVLCriterionConfig())
    others = argparse.ArgumentParser(prog="mvlm-plan", add_help=False)
    for config in configs:
        gen_parser_from_dataclass(others, config)
    given = vars(others.parse_args(rest))
    changed = {}
    for config in configs:
        for name in config.__dataclass_fields__:
            if name in given and given[name] != getattr(config, name):
                setattr(config, name, given[name])
                changed[name] = given[name]
    options = StepOptions(
        *configs, arguments.vocab, arguments.tokens, arguments.autocast, arguments.feature_cache_chunk
    )
    return arguments, options, changed


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code: 1 where not even one pair fits."""
    arguments, options, changed = parse(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rate = matmul_rate(device, options.autocast) * MEASURED_SHARE if arguments.measure else arguments.flops
    machine = Machine(arguments.gpus, arguments.memory, rate, device)
    plan = make_plan(arguments.arch, options, machine, arguments.batch, changed)
    print(json.dumps(plan.as_dict(), indent=2) if arguments.json else describe(plan))
    return 0 if plan.fits else 1


if __name__ == "__main__":
    sys.exit(main())
