import pytest

from mvlm_plugin.registry import Registry


@pytest.fixture
def registry() -> Registry:
    registry = Registry("toy")
    registry.register("plain")(lambda size: ("plain", size))
    registry.register_family("zoo")(lambda name, size: (name, size))
    return registry


def test_a_family_builds_any_name_after_its_prefix(registry: Registry) -> None:
    assert registry.build("plain", 3) == ("plain", 3)
    assert registry.build("zoo:lion:v2", 3) == ("lion:v2", 3)


def test_choices_tell_of_families_and_names_are_those_that_can_be_built(registry: Registry) -> None:
    assert registry.names() == ["plain"]
    assert registry.choices() == ["plain", "zoo:NAME"]


@pytest.mark.parametrize("name", ["plane", "zo:lion", "zoo"])
def test_an_unknown_name_lists_the_choices(registry: Registry, name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown toy '{name}'; choices: plain, zoo:NAME"):
        registry.get(name)


def test_a_prefix_is_registered_once(registry: Registry) -> None:
    with pytest.raises(ValueError, match="toy 'zoo' is registered already"):
        registry.register_family("zoo")(lambda name: name)
