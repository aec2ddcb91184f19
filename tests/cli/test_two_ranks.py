"""Two processes on the CPU train one model and validate to the same figures as one process."""

from pathlib import Path

from mvlm_plugin.evaluation.pair_table import FIGURES
from tests.cli.commands import command, logged, run, run_two_ranks, train_command, validate_command


def test_two_ranks_train_and_validate_as_one(tmp_path: Path) -> None:
    # 200 held-out pairs make three groups: rank 0 gets two of them, rank 1 one and an empty turn.
    scenes = tmp_path / "data-bin"
    run(command("mvlm-prep", "scenes", "--dest", scenes, "--pairs", 1600))
    outputs = run_two_ranks(train_command(scenes, tmp_path, updates=3, batch=45))
    updates = logged(outputs[0], "train_inner")
    assert [float(update["bsz"]) for update in updates] == [90, 90, 90]
    # Each image is contrasted with the captions of both ranks: chance is 1 in 90, not 1 in 45.
    assert float(updates[0]["itc_loss"]) > 4.1
    # fairseq-validate itself cannot gather on CPUs; validation during training can.
    two = logged(outputs[0], "valid")[-1]
    output = run(validate_command(scenes, tmp_path / "checkpoint_last.pt", "--valid-subset", "valid"))
    one = logged(output, "valid")[0]
    assert float(two["valid_pairs"]) == 200
    assert {name: two[f"valid_{name}"] for name in FIGURES} == {name: one[f"valid_{name}"] for name in FIGURES}
