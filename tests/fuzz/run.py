"""Coverage-guided fuzzing of one target with atheris, from its kept corpus: ``make fuzz``.

Prints the executions; exits with 1 and writes crash-* into --findings where an input breaks the reader.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import atheris

CORPUS = Path(__file__).with_name("corpus")
_MOST_MEMORY = 2048  # MiB of the process, of which torch and fairseq take 600


def main() -> None:
    """Entry point; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="folder in which new inputs are kept (default: a temporary one)")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    args = parser.parse_args()
    with atheris.instrument_imports(include=["mvlm_plugin", "data_prep", "ijson"], enable_loader_override=False):
        from tests.fuzz.mutations import mutate
        from tests.fuzz.targets import Harness

        harness = Harness(args.target)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return mutate(data, rng, most) if rng.random() < 0.5 else atheris.Mutate(data, most)

    kept = args.corpus or Path(tempfile.mkdtemp(prefix="mvlm-fuzz-corpus-"))
    kept.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(harness.parser.seeds):
        (kept / f"sound-{number}").write_bytes(seed)
    args.findings.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={args.seconds}", "-timeout=20", f"-rss_limit_mb={_MOST_MEMORY}", "-max_len=262144",
        f"-artifact_prefix={args.findings}/{args.target}-", "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    found = [str(CORPUS / args.target)] if (CORPUS / args.target).is_dir() else []
    atheris.Setup([sys.argv[0], *options, str(kept), *found], harness.run, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
