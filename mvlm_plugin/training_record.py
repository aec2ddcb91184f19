"""Which data, code and packages made a checkpoint: recorded by training, compared on resuming.

The record is ``extra_state["provenance"]`` of a checkpoint, made of strings, numbers, lists and dictionaries alone::

    runs     one entry, and another where the training was resumed with other data or other versions: from_update; data,
             a list of {path, fingerprint} with one for each shard; and the entries of environment()
    start    only after --finetune-from-model: checkpoint, its path, and its own record (runs, maybe start)

``python -m mvlm_plugin.provenance CHECKPOINT`` prints it; mvlm-export puts it into config.json, below ``training``.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq import utils

from .data.databin import shard_folders
from .data.fingerprint import fingerprint
from .distributed import rank
from .environment import environment

logger = logging.getLogger(__name__)

KEY = "provenance"
# What computes, decodes and crops.
PACKAGES = (
    "torch", "ve-fairseq", "fairseq", "numpy", "pillow", "simplejpeg", "timm", "efficientnet-lite-pytorch",
    "tokenizers", "sentencepiece", "safetensors", "omegaconf",
)  # fmt: skip
_OWN_LAST = "checkpoint_last.pt"
_DAMAGED = "the checkpoint's record of data and versions is damaged"


def present_run(data: str, update: int) -> dict[str, Any]:
    """The entry of a run that begins now.

    Args:
        data: data-bins, joined by ``:``.
        update: number of updates made before.

    Raises:
        DataBinError: one is missing or damaged.
    """
    shards = [shard for path in utils.split_paths(data) for shard in shard_folders(Path(path))]
    bins = [{"path": str(shard), "fingerprint": fingerprint(shard)} for shard in shards]
    return {"from_update": update, "data": bins, **environment(PACKAGES)}


def record_of(state: Any) -> dict[str, Any] | None:
    """The record in what torch.load() read of a checkpoint, or in its ``extra_state``; None where it has none.

    Raises:
        ValueError: it is damaged: files from elsewhere may hold anything.
    """
    outer = state.get("extra_state", state) if isinstance(state, Mapping) else None
    record = outer.get(KEY) if isinstance(outer, Mapping) else None
    if record is None:
        return None
    try:
        record = json.loads(json.dumps(record))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(_DAMAGED) from error
    runs = record.get("runs") if isinstance(record, dict) else None
    if not isinstance(runs, list) or not runs or not all(map(_is_sound, runs)):
        raise ValueError(_DAMAGED)
    return record


def _is_sound(run: Any) -> bool:
    """Whether an entry of a run has what is read of it."""
    if not isinstance(run, dict) or not isinstance(run.get("data"), list) or not isinstance(run.get("packages"), dict):
        return False
    return all(
        isinstance(entry, dict) and isinstance(entry.get("path"), str) and isinstance(entry.get("fingerprint"), str)
        for entry in run["data"]
    )


def changed_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is of another version than in an earlier run, such as ``torch 2.6.0 -> 2.7.0``."""
    old, new = _versions_of(before), _versions_of(now)
    return [
        f"{name} {old.get(name) or 'none'} -> {new.get(name) or 'none'}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _versions_of(run: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: run.get(name) for name in ("mvlm_plugin_version", "revision", "python", "platform")}
    return own | run["packages"]


def finetuned_checkpoint(cfg: Any, suffix: str) -> str:
    """The checkpoint whose weights alone a training starts from; empty where it goes on with one, or with none.

    Args:
        cfg: fairseq's options of checkpoints.
        suffix: what it puts before ``.pt``.
    """
    last = Path(cfg.save_dir) / _OWN_LAST.replace(".pt", f"{suffix}.pt")
    is_going_on = cfg.restore_file != _OWN_LAST or last.exists() or getattr(cfg, "continue_once", None)
    return "" if is_going_on else cfg.finetune_from_model or ""


def next_record(
    saved: dict[str, Any] | None, present: dict[str, Any], finetuned: str = "", is_new_order: bool = False
) -> dict[str, Any]:
    """The record of a training, from that of the checkpoint which it loaded.

    Args:
        saved: the checkpoint's, None if there is none.
        present: from present_run().
        finetuned: the checkpoint's path, where only its weights are taken.
        is_new_order: whether the data are read from their beginning, so that they may be others.

    Raises:
        ValueError: a training would go on in the midst of other data.
    """
    if finetuned:
        return {"runs": [present], "start": {**(saved or {}), "checkpoint": finetuned}}
    if saved is None:
        return {"runs": [present]}
    before = saved["runs"][-1]
    old, new = ([entry["fingerprint"] for entry in run["data"]] for run in (before, present))
    if old != new and not is_new_order:
        raise ValueError(
            f"cannot resume: the data are not those that the checkpoint was trained on ({_named(before)}; now "
            f"{_named(present)}), so its place in them means nothing. Go on with the same data, or give "
            "--reset-dataloader to go on with these from their beginning."
        )
    changed = changed_versions(before, present)
    if changed and rank() == 0:
        logger.warning("resumed with other versions than before: %s", ", ".join(changed))
    return {**saved, "runs": [*saved["runs"], present] if changed or old != new else saved["runs"]}


def _named(run: Mapping[str, Any]) -> str:
    bins = [f"{entry['path']}: {entry['fingerprint'][:12] or 'no fingerprint'}" for entry in run["data"]]
    return ", ".join(bins[:3]) + (f" and {len(bins) - 3} more" if len(bins) > 3 else "")


def follow_checkpoint(cfg: Any, trainer: Any, extra_state: Mapping[str, Any] | None, finetuned: str) -> None:
    """Give a task of ours the record that its checkpoints keep; after fairseq has loaded a checkpoint, or none.

    Args:
        cfg: fairseq's options of checkpoints.
        trainer: fairseq's.
        extra_state: of the checkpoint, None without one.
        finetuned: see finetuned_checkpoint().

    Raises:
        ValueError: a training would go on in the midst of other data, or the record is damaged.
        DataBinError: a data-bin is missing or damaged.
    """
    if not hasattr(trainer.task, KEY):
        return
    saved = record_of(extra_state)
    if extra_state is not None and saved is None and rank() == 0:
        logger.warning("the checkpoint does not say which data and versions made it: they may be others now")
    present = present_run(trainer.task.cfg.data, trainer.get_num_updates())
    trainer.task.provenance = next_record(saved, present, finetuned, bool(cfg.reset_dataloader))


def summary_of(record: Mapping[str, Any]) -> str:
    """The last run of a record in one line: program, revision, Python, torch and the data's fingerprints."""
    run = record["runs"][-1]
    versions = [f"mvlm-plugin {run.get('mvlm_plugin_version')} {str(run.get('revision') or '')[:12]}".rstrip()]
    versions += [f"Python {run.get('python')}", f"torch {run['packages'].get('torch')}"]
    return f"{', '.join(versions)}; data {_named(run)}"
