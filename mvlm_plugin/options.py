"""``python -m mvlm_plugin.options``: what the plugin adds to fairseq-train, with an architecture's defaults.

``fairseq-train --help`` stops before it knows task and architecture, and shows none of them.
"""

import argparse
import sys

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import MODEL_DATACLASS_REGISTRY

from .criterions.joint_masked_vl import JointMaskedVLCriterionConfig
from .data.transforms.operations import usages
from .models.architectures import ARCHITECTURES
from .optim.adamw_parts import AdamWPartsConfig
from .registry import FUSIONS, IMAGE_DECODERS, IMAGE_ENCODERS, TEXT_ENCODERS
from .tasks.joint_masked_vl import JointMaskedVLConfig


def describe(architecture: str) -> str:
    """Help text of all options that the plugin adds, with the defaults of an architecture, and the component names."""
    parser = argparse.ArgumentParser(
        prog="fairseq-train",
        usage=f"fairseq-train DATA --user-dir mvlm_plugin --task joint_masked_vl --arch {architecture} "
        "--criterion joint_masked_vl --optimizer adamw_parts ...",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        add_help=False,
    )
    groups = {
        "--task joint_masked_vl": JointMaskedVLConfig,
        f"--arch {architecture}": MODEL_DATACLASS_REGISTRY[architecture],
        "--criterion joint_masked_vl": JointMaskedVLCriterionConfig,
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
        epilog="example: python -m mvlm_plugin.options --arch mvlm_tiny",
    )
    parser.add_argument("--arch", default="mvlm_base", choices=sorted(ARCHITECTURES), help="whose defaults to show")
    print(describe(parser.parse_args(argv).arch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
