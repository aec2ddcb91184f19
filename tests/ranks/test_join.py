import pytest

from mvlm_plugin.ranks import RanksConfig, join_ranks


def test_one_process_joins_nothing() -> None:
    join_ranks(RanksConfig())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ddp_backend": "fully_sharded"}, "--checkpoint-activations all"),
        ({"peer_timeout": -1}, "--peer-timeout"),
        ({"collective_timeout": 0}, "--collective-timeout"),
    ],
)
def test_what_cannot_work_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        join_ranks(RanksConfig(**options))
