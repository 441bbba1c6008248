import pytest

from episodes.registry import Registry, UnknownNameError


def test_a_typo_is_answered_with_the_near_name_and_all_valid_ones() -> None:
    registry: Registry[int] = Registry("model")
    registry.register("proto")(1)
    registry.register("relation")(2)
    with pytest.raises(
        UnknownNameError, match=r"unknown model 'porto'\. Did you mean 'proto'\? Valid: proto, relation"
    ):
        registry.get("porto")


def test_a_name_is_given_once() -> None:
    registry: Registry[int] = Registry("model")
    registry.register("proto")(1)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("proto")


def test_iteration_is_sorted() -> None:
    registry: Registry[int] = Registry("model")
    for name in ("b", "a", "c"):
        registry.register(name)(0)
    assert list(registry) == ["a", "b", "c"]
