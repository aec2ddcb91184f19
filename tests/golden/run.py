"""The golden run: mvlm_tiny trained on generated scenes for 90 updates, in processes of its own with one thread."""

from pathlib import Path

from mvlm_plugin.data.fingerprint import fingerprint
from mvlm_plugin.environment import package_version
from tests.cli.commands import command, run, train_command
from tests.golden.curves import Curves, curves_of

STORED = Path(__file__).parent
PAIRS, BATCH, UPDATES = 640, 32, 90
# What makes the data or computes: named where the curves differ.
PACKAGES = ("torch", "numpy", "pillow", "sentencepiece", "ve-fairseq")
# Those of examples/quickstart/run.sh, on a schedule of 90 updates.
RECIPE = (
    "--adam-betas", "(0.9, 0.98)", "--weight-decay", 0.01, "--clip-norm", 1.0, "--lr-scheduler", "polynomial_decay",
    "--warmup-updates", 10, "--total-num-update", UPDATES, "--seed", 1, "--num-workers", 0, "--no-save",
)  # fmt: skip


def make_scenes(folder: Path) -> Path:
    """The data-bin of the run: 480 pairs to train on, 80 to validate on."""
    run(command("mvlm-prep", "scenes", "--dest", folder, "--pairs", PAIRS, "--seed", 1, "--workers", 1))
    return folder


def train(scenes: Path, folder: Path, *changes: object, updates: int = UPDATES) -> Curves:
    """Run it.

    Args:
        scenes: from make_scenes().
        folder: where fairseq may write.
        changes: options that replace those of the recipe.
        updates: at which to stop; the schedule of the learning rate stays that of the whole run. Only the whole run
            validates, at its end.
    """
    # Later than any epoch of the run: it validates where it stops.
    validation = ["--validate-interval", 1000] if updates == UPDATES else ["--disable-validation"]
    options = [*RECIPE, *validation, *changes]
    log = run(train_command(scenes, folder, *options, updates=updates, batch=BATCH))
    versions = {name: package_version(name) for name in PACKAGES}
    return curves_of(log, {"data": fingerprint(scenes), **versions})
