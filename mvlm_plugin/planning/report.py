"""A plan in words."""

from .fit import FREE_SHARE
from .schedule import PAPER_BATCH, PAPER_ENCODER_RATE, PAPER_RATE, Plan, command
from .units import show_bytes, show_count, show_seconds

_FIXES = "take --autocast bf16, --checkpoint-activations all, a smaller --image-size or a smaller --arch"


def describe(plan: Plan) -> str:
    """Lines for people."""
    precision = "bfloat16 by autocast, weights in float32" if plan.options.autocast else "float32"
    kernels = "" if plan.machine.device == "cuda" else "; kernels of the CPU stand in for the GPU's"
    head = [
        f"{plan.architecture}: {show_count(plan.parameters)} parameters, {plan.gflops_a_pair:.1f} GFLOP a pair "
        f"(forward and backward, captions of {plan.options.tokens} tokens); {precision}{kernels}",
        "",
    ]
    memory = [f"memory of a GPU for {max(plan.pairs, 1)} pairs"]
    memory += [f"  {name:24}{show_bytes(size):>12}" for name, size in plan.memory.items() if size]
    memory.append(f"  {'together':24}{show_bytes(sum(plan.memory.values())):>12}")
    memory.append(f"  {'of':24}{show_bytes(plan.machine.memory):>12}, {FREE_SHARE:.0%} of it left free")
    if not plan.fits:
        return "\n".join([*head, *memory, "", f"not even one pair fits: {_FIXES}"])
    return "\n".join([*head, *_batch(plan), "", *memory, "", *_pace(plan), "", command(plan)])


def _batch(plan: Plan) -> list[str]:
    """How the batch comes about, and what each pair is contrasted with."""
    gpus = plan.machine.gpus
    lines = [
        f"batch {plan.batch} = {plan.pairs} pairs x {gpus} GPUs x {plan.update_freq} (--update-freq); "
        f"at most {plan.most_pairs} pairs a GPU fit"
    ]
    if plan.options.feature_cache_chunk:
        lines.append(
            f"  a GPU's pairs are encoded {plan.options.feature_cache_chunk} at a time (--feature-cache-chunk), and "
            f"contrasted with all {plan.pairs * gpus} of their batch"
        )
    elif plan.update_freq > 1:
        lines.append(
            f"  accumulation adds no negatives: a pair is contrasted with {plan.pairs * gpus}; "
            f"--feature-cache-chunk {plan.most_pairs} contrasts it with all {plan.batch}"
        )
    return lines


def _pace(plan: Plan) -> list[str]:
    """Time and learning rates."""
    rate, encoder_rate = plan.rates
    if plan.machine.rate is None or plan.seconds is None:
        pace = "time: give --flops (what a GPU sustains, e.g. 400T) or --measure"
    else:
        pace = (
            f"time: {show_seconds(plan.seconds)} an update, {plan.batch / plan.seconds:.0f} pairs/s, at "
            f"{plan.machine.rate / 1e12:.3g} TFLOP/s a GPU; reading data and exchanging gradients not counted"
        )
    return [
        pace,
        f"learning rate: {rate:.3g}, pre-trained encoders {encoder_rate:.3g} (the paper's {PAPER_RATE:g} and "
        f"{PAPER_ENCODER_RATE:g} at batch {PAPER_BATCH}, in proportion to the batch)",
    ]
