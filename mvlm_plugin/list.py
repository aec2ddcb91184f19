"""``python -m mvlm_plugin.list``: every architecture and component, with parameters and GFLOPs a pair."""

import argparse
import json
import re
import sys
from typing import Any

from fairseq.models import MODEL_DATACLASS_REGISTRY

from .criterions.joint_masked_vl import JointMaskedVLCriterionConfig
from .models.architectures import ARCHITECTURES
from .planning.operations import StepCost, count_step
from .planning.parts import PARTS
from .planning.step import DEFAULT_TOKENS, DEFAULT_VOCABULARY, StepOptions
from .planning.units import show_count
from .registry import FUSIONS, IMAGE_DECODERS, IMAGE_ENCODERS, TEXT_ENCODERS

REGISTRIES = dict(zip(PARTS, (IMAGE_ENCODERS, TEXT_ENCODERS, FUSIONS, IMAGE_DECODERS), strict=True))
# What a component is counted in that no architecture names.
FALLBACK = "mvlm_base"
EPILOG = """
GFLOPs a pair: forward and backward of a step with all four losses, counted on tensors without contents, at the
architecture's own image size. A component's are its share of a step of the architecture in the last column: the first
that names it, or mvlm_base with the component put in. Parameters are exact; heads and adapters are in the
architectures' only. A text encoder's parameters depend on --vocab, its GFLOPs on --tokens.

examples:
  python -m mvlm_plugin.list
  python -m mvlm_plugin.list --arch mvlm_tiny --vocab 8000
  python -m mvlm_plugin.list --json

What a composition costs that has no name: mvlm-plan --arch A --image-encoder timm:NAME ...
"""


class Lister:
    """Costs of compositions, each counted once.

    Args:
        vocabulary: entries of the dictionary.
        tokens: of a caption, <s> and </s> counted.
    """

    def __init__(self, vocabulary: int, tokens: int) -> None:
        self.vocabulary, self.tokens = vocabulary, tokens
        self._known: dict[tuple[str, str, str], StepCost | str] = {}

    def cost(self, architecture: str, part: str = "", name: str = "") -> StepCost | str:
        """What a step costs, with another component for a part, or which extra must be installed to know."""
        key = (architecture, part, name)
        if key not in self._known:
            cfg = MODEL_DATACLASS_REGISTRY[architecture](**({part: name} if part else {}))
            options = StepOptions(cfg, JointMaskedVLCriterionConfig(), self.vocabulary, self.tokens)
            try:
                self._known[key] = count_step(options)
            except ImportError as error:
                needed = re.search(r"pip install .*", str(error))
                self._known[key] = needed.group() if needed else str(error)
        return self._known[key]

    def architecture(self, name: str) -> dict[str, Any]:
        """An architecture's row."""
        cfg = MODEL_DATACLASS_REGISTRY[name]()
        row = {"kind": "architecture", "name": name, "image_size": cfg.image_size}
        row |= {part: getattr(cfg, part) for part in PARTS}
        cost = self.cost(name)
        if isinstance(cost, str):
            return row | {"needs": cost}
        return row | {"parameters": cost.parameters, "gflops": cost.gflops}

    def component(self, part: str, name: str, architectures: list[str]) -> dict[str, Any]:
        """A component's row; architectures: those that name it, the first counts."""
        row = {"kind": part.replace("_", " "), "name": name, "counted_in": (architectures or [FALLBACK])[0]}
        if name.endswith(":NAME"):
            return row | {"needs": f"a name, e.g. from timm.list_models(): mvlm-plan --{part.replace('_', '-')} {name}"}
        cost = self.cost(architectures[0]) if architectures else self.cost(FALLBACK, part, name)
        if isinstance(cost, str):
            return row | {"needs": cost}
        return row | {"parameters": cost.part_parameters[part], "gflops": cost.part_gflops[part]}


def rows(vocabulary: int, tokens: int, only: str = "") -> list[dict[str, Any]]:
    """All architectures and components, or one architecture and its components."""
    lister = Lister(vocabulary, tokens)
    names = [only] if only else list(ARCHITECTURES)
    found = [lister.architecture(name) for name in names]
    for part, registry in REGISTRIES.items():
        users: dict[str, list[str]] = {}
        for name in names:
            users.setdefault(getattr(MODEL_DATACLASS_REGISTRY[name](), part), []).append(name)
        found += [lister.component(part, name, users.get(name, [])) for name in (users if only else registry.choices())]
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Rows for people."""
    lines: list[str] = []
    kind = ""
    for row in found:
        if row["kind"] != kind:
            kind = row["kind"]
            last = "components" if kind == "architecture" else "counted in"
            lines += ["", f"{kind:22}{'parameters':>12}{'GFLOPs a pair':>15}  {last}"]
        last = row.get("counted_in") or f"{row['image_size']} px, " + ", ".join(row[part] for part in PARTS)
        figures = (show_count(row["parameters"]), f"{row['gflops']:.2f}") if "parameters" in row else ("?", "?")
        note = f"needs {row['needs']}" if "needs" in row else last
        lines.append(f"{row['name']:22}{figures[0]:>12}{figures[1]:>15}  {note}")
    return "\n".join(lines[1:])


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mvlm_plugin.list",
        description="List every architecture and component, with parameters and GFLOPs a pair.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arch", default="", choices=sorted(ARCHITECTURES), help="only this one and its components")
    parser.add_argument("--vocab", type=int, default=DEFAULT_VOCABULARY, help="entries of the dictionary (%(default)s)")
    parser.add_argument("--tokens", type=int, default=DEFAULT_TOKENS, help="of a caption (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    found = rows(arguments.vocab, arguments.tokens, arguments.arch)
    print(json.dumps(found, indent=2) if arguments.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
