import json
import shlex
from typing import Any

import pytest
from fairseq import options as fairseq_options

from mvlm_plugin import list as listing
from mvlm_plugin import plan
from mvlm_plugin.models.architectures import ARCHITECTURES
from mvlm_plugin.planning.units import parse_amount, show_bytes
from mvlm_plugin.registry import IMAGE_DECODERS

SMALL = ["--arch", "mvlm_tiny", "--image-size", "32", "--vocab", "100", "--tokens", "8"]


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = plan.main([*SMALL, *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["fits"] else 1)
    return found


def test_a_batch_that_does_not_fit_at_once_is_accumulated(capsys: pytest.CaptureFixture[str]) -> None:
    once = planned(capsys, "--gpus", "2", "--memory", "256M", "--flops", "1G")
    assert once["update_freq"] == 1
    assert once["batch"] == 2 * once["most_pairs_a_gpu"]
    assert once["memory"]["total"] <= 0.9 * 256 * 2**20
    asked = 5 * once["batch"]
    found = planned(capsys, "--gpus", "2", "--memory", "256M", "--batch", str(asked), "--flops", "1G")
    assert found["update_freq"] >= 5
    assert asked <= found["batch"] < asked + 2 * found["update_freq"]
    assert found["seconds_an_update"] == pytest.approx(found["batch"] / 2 * found["gflops_a_pair"])
    assert found["lr"] == pytest.approx(3e-4 * found["batch"] / 512)


def test_the_line_it_prints_is_one_that_fairseq_reads(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--memory",
        "512M",
        "--batch",
        "64",
        "--feature-cache-chunk",
        "16",
        "--autocast",
        "bf16",
        "--itm-weight",
        "0.5",
    ]
    found = planned(capsys, *arguments)
    assert (found["update_freq"], found["batch"]) == (1, 64)
    words = shlex.split(found["command"])
    assert words[0] == "fairseq-train"
    words = [word for word in words[1:] if word not in ("--user-dir", "mvlm_plugin")]
    read = fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), words)
    assert (read.image_size, read.batch_size, read.feature_cache_chunk, read.itm_weight) == (32, 64, 16, 0.5)


def test_too_little_memory_is_said_with_the_fixes(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main([*SMALL, "--memory", "8M"]) == 1
    said = capsys.readouterr().out
    assert "not even one pair fits: take --autocast bf16, --checkpoint-activations all" in said
    assert "fairseq-train" not in said


@pytest.mark.parametrize(("text", "count"), [("80G", 80 * 2**30), ("1.5GiB", 3 * 2**29), ("512m", 2**29), ("7", 7)])
def test_amounts_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_amount(text) == count
    assert parse_amount("400T", 1000) == 400 * 10**12


@pytest.mark.parametrize("text", ["", "G", "-3G", "80X", "nan"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_amount(text)


def test_bytes_are_shown_with_their_unit() -> None:
    assert [show_bytes(n) for n in (7, 2048, 3 * 2**20, 3 * 2**29)] == ["7 B", "2 KiB", "3 MiB", "1.5 GiB"]


def test_the_list_has_an_architecture_and_its_components(capsys: pytest.CaptureFixture[str]) -> None:
    assert listing.main(["--arch", "mvlm_tiny", "--vocab", "8000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found] == [
        "mvlm_tiny",
        "vit_tiny_patch16",
        "roberta_tiny",
        "co_attention",
        "cross_attention",
    ]
    whole, *parts = found
    assert sum(row["parameters"] for row in parts) < whole["parameters"] == 4_196_419
    assert 0 < sum(row["gflops"] for row in parts) < whole["gflops"]
    assert listing.main(["--arch", "mvlm_tiny", "--vocab", "8000"]) == 0
    assert "roberta_tiny" in capsys.readouterr().out


def test_everything_is_listed_and_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(options: Any) -> None:
        raise ImportError("this needs the extra 'toy': pip install 'mvlm-plugin[toy]'")

    monkeypatch.setattr(listing, "count_step", refuse)
    found = listing.rows(100, 8)
    assert {row["name"] for row in found} >= {*ARCHITECTURES, "timm:NAME", *IMAGE_DECODERS.names()}
    assert found[0]["needs"] == "pip install 'mvlm-plugin[toy]'"
    assert "needs pip install 'mvlm-plugin[toy]'" in listing.table(found)
