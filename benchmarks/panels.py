#!/usr/bin/env python
"""What the panels of --tensorboard-logdir cost: seconds of a panel and of an update, in one training that has both.

The training is fairseq's own, in this process; every few updates panels are drawn, so that both are measured in turns
and under the same load. Data are generated scenes in a temporary folder, unless --data names a data-bin.

    python benchmarks/panels.py --json panels.json
    python benchmarks/panels.py --data data-bin/mine --arch mvlm_mini --batch-size 64
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import train as fairseq_train

from mvlm_plugin.panels import PanelConfig, Panels

BIN = Path(sys.executable).parent


class Timed:
    """Wall and processor seconds of every update, and of every panel, of this process.

    Takes the place of Panels.after_update(). The first panel opens files and is counted on its own.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.updates: list[tuple[float, float]] = []
        self.panels: list[tuple[float, float]] = []
        self.failures = 0
        self._draw = Panels.after_update
        self._last: tuple[float, float] | None = None

    def __call__(self, panels: Panels, update: int, model: Any, criterion: Any) -> None:
        """Panels.after_update(), timed."""
        start = _clocks()
        if self._last is not None:
            self.updates.append(_difference(self._last, start))
        self._draw(panels, update, model, criterion)
        self._last = _clocks()
        if update % self.interval == 0:
            self.panels.append(_difference(start, self._last))
        self.failures = panels.failures


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _difference(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    return end[0] - start[0], end[1] - start[1]


def measure(args: argparse.Namespace, data: Path, folder: Path) -> Timed:
    """Train with panels every args.every updates."""
    timed = Timed(args.every)
    command = [
        data, "--task", "joint_masked_vl", "--arch", args.arch, "--criterion", "joint_masked_vl", "--optimizer", "adam",
        "--lr", 1e-4, "--batch-size", args.batch_size, "--max-update", args.every * (args.panels + 1), "--cpu",
        "--save-dir", folder, "--no-save", "--disable-validation", "--num-workers", 1, "--log-format", "none",
        "--tensorboard-logdir", folder / "tensorboard", "--panel-interval", args.every,
    ]  # fmt: skip
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), list(map(str, command)))
    )
    Panels.after_update = lambda *arguments: timed(*arguments)  # type: ignore[method-assign]
    fairseq_train.main(cfg)
    return timed


def summary(timed: Timed) -> dict[str, float]:
    """Medians of wall and processor seconds, and the share of the time at the default interval."""
    result: dict[str, float] = {"panels": len(timed.panels) - 1, "failed": timed.failures}
    for column, clock in enumerate(("seconds", "cpu_seconds")):
        update = statistics.median(times[column] for times in timed.updates)
        panel = statistics.median(times[column] for times in timed.panels[1:])
        interval = PanelConfig.panel_interval
        result |= {f"update_{clock}": update, f"panel_{clock}": panel, f"updates_a_panel_{clock}": panel / update}
        result[f"share_{clock}"] = panel / (panel + interval * update)
        result[f"first_panel_{clock}"] = timed.panels[0][column]
    return result


def main() -> int:
    """Entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data-bin with the splits train and valid (default: scenes)")
    parser.add_argument("--arch", default="mvlm_tiny", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="pairs an update (default: %(default)s)")
    parser.add_argument("--every", type=int, default=10, help="updates between panels (default: %(default)s)")
    parser.add_argument("--panels", type=int, default=8, help="that are measured, after one (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        data = args.data or Path(name) / "data-bin"
        if args.data is None:
            scenes = ["scenes", "--dest", str(data), "--pairs", "2000", "--seed", "1"]
            subprocess.run([BIN / "mvlm-prep", *scenes], check=True, stdout=subprocess.DEVNULL)
        result = summary(measure(args, data, Path(name)))
    for key, value in result.items():
        print(f"{key:28} {value:.4g}")
    print(f"share at --panel-interval {PanelConfig.panel_interval}: {100 * result['share_cpu_seconds']:.2f} %")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if result["failed"]:
        print("a panel failed: its time says nothing", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
