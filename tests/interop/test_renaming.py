import pytest
import torch

from mvlm_plugin.interop.renaming import KeyTable, fuse_key_value, rename

TABLE = KeyTable("a toy", prefix=r"(?:toy\.)?", renamed=((r"a\.(\w+)", r"b.\1"),), ignored=(r"old\.\w+",))


def test_keys_are_renamed_with_or_without_the_prefix() -> None:
    one, two = torch.ones(1), torch.zeros(1)
    renamed = rename({"toy.a.x": one, "a.y": two, "old.z": two}, TABLE)
    assert renamed.keys() == {"b.x", "b.y"}
    assert renamed["b.x"] is one


def test_all_unknown_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"not weights of a toy; .*: c\.x, a\.x\.y$"):
        rename({"c.x": torch.ones(1), "a.x.y": torch.ones(1), "a.z": torch.ones(1)}, TABLE)


def test_a_part_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"twice: toy\.a\.x -> b\.x"):
        rename({"a.x": torch.ones(1), "toy.a.x": torch.ones(1)}, TABLE)


def test_keys_come_before_values() -> None:
    state = {"p.key.weight": torch.zeros(2, 3), "p.value.weight": torch.ones(2, 3), "p.query.weight": torch.ones(1)}
    fused = fuse_key_value(state)
    assert fused.keys() == {"p.key_value.weight", "p.query.weight"}
    assert fused["p.key_value.weight"].tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2


def test_half_of_keys_and_values_is_refused() -> None:
    with pytest.raises(ValueError, match=r"missing: p\.value\.bias$"):
        fuse_key_value({"p.key.bias": torch.zeros(2)})
