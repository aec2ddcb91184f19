"""``python -m mvlm_plugin.options``: what the plugin adds to fairseq-train, with an architecture's defaults.

``fairseq-train --help`` stops before it knows task and architecture, and shows none of them.
"""

import argparse
import sys

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import MODEL_DATACLASS_REGISTRY

from .criterions.joint_masked_vl import JointMaskedVLCriterionConfig
from .criterions.vl_classification import VlClassificationConfig
from .criterions.vl_retrieval import VlRetrievalCriterionConfig
from .data.transforms.operations import usages
from .models.architectures import ARCHITECTURES
from .optim.adamw_parts import AdamWPartsConfig
from .registry import FUSIONS, IMAGE_DECODERS, IMAGE_ENCODERS, TEXT_ENCODERS
from .tasks.joint_masked_vl import JointMaskedVLConfig
from .tasks.vl_entailment import VlEntailmentConfig
from .tasks.vl_nlvr2 import VlNlvr2Config
from .tasks.vl_retrieval import VlRetrievalConfig
from .tasks.vl_vqa import VlVqaConfig

# Options of each task, and the criterion that goes with it and its options.
TASKS = {
    "joint_masked_vl": (JointMaskedVLConfig, "joint_masked_vl", JointMaskedVLCriterionConfig),
    "vl_retrieval": (VlRetrievalConfig, "vl_retrieval", VlRetrievalCriterionConfig),
    "vl_vqa": (VlVqaConfig, "vl_classification", VlClassificationConfig),
    "vl_nlvr2": (VlNlvr2Config, "vl_classification", VlClassificationConfig),
    "vl_entailment": (VlEntailmentConfig, "vl_classification", VlClassificationConfig),
}


def describe(task: str, architecture: str) -> str:
    """Help text of all options that the plugin adds, with the defaults of an architecture, and the component names."""
    task_config, criterion, criterion_config = TASKS[task]
    parser = argparse.ArgumentParser(
        prog="fairseq-train",
        usage=f"fairseq-train DATA --user-dir mvlm_plugin --task {task} --arch {architecture} "
        f"--criterion {criterion} --optimizer adamw_parts ...",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        add_help=False,
    )
    groups = {
        f"--task {task}": task_config,
        f"--arch {architecture}": MODEL_DATACLASS_REGISTRY[architecture],
        f"--criterion {criterion}": criterion_config,
        "--optimizer adamw_parts": AdamWPartsConfig,
    }
    for title, config in groups.items():
        gen_parser_from_dataclass(parser.add_argument_group(title), config())
    registries = (IMAGE_ENCODERS, TEXT_ENCODERS, FUSIONS, IMAGE_DECODERS)
    names = "".join(f"  {registry.kind}: {', '.join(registry.choices())}\n" for registry in registries)
    operations = "".join(f"  {usage}\n" for usage in usages())
    return f"{parser.format_help()}\ncomponents:\n{names}\nimage operations:\n{operations}"


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mvlm_plugin.options",
        description="Show the options that the plugin adds to fairseq-train.",
        epilog="example: python -m mvlm_plugin.options --task vl_vqa --arch mvlm_tiny",
    )
    parser.add_argument("--task", default="joint_masked_vl", choices=list(TASKS), help="whose options to show")
    parser.add_argument("--arch", default="mvlm_base", choices=sorted(ARCHITECTURES), help="whose defaults to show")
    arguments = parser.parse_args(argv)
    print(describe(arguments.task, arguments.arch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
