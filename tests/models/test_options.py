from __future__ import annotations

from typing import Any, Literal

import pytest

from fewshot.models.encoders.base import ENCODERS
from fewshot.models.methods import METHODS
from fewshot.models.options import Option, OptionError, checked_options, non_default_options, options_of


class Example:
    """Stands for a method: the first parameter has no default and is no option."""

    def __init__(
        self,
        encoder: object,
        temperature: float = 1.5,
        read_steps: int = 5,
        fce: bool = False,
        distance: Literal["cosine", "euclidean"] = "cosine",
        power: Literal[1, 2] = 2,
        hidden: int | None = None,
        name: str = "plain",
    ) -> None:
        self.chosen = (encoder, temperature, read_steps, fce, distance, power, hidden, name)


class Heir(Example):
    """Has no constructor of its own."""


class WithoutOptions:
    pass


def checked(**chosen: Any) -> dict[str, Any]:
    return checked_options(Example, chosen, "example")


@pytest.mark.parametrize("target", [Example, Heir])
def test_options_are_the_keywords_of_the_constructor_with_types_defaults_and_choices(target: type) -> None:
    assert options_of(target) == {
        "temperature": Option("temperature", float, 1.5),
        "read_steps": Option("read_steps", int, 5),
        "fce": Option("fce", bool, False),
        "distance": Option("distance", str, "cosine", ("cosine", "euclidean")),
        "power": Option("power", int, 2, (1, 2)),
        "hidden": Option("hidden", int, None),
        "name": Option("name", str, "plain"),
    }


def test_an_option_shows_how_it_is_typed() -> None:
    options = options_of(Example)
    assert str(options["read_steps"]) == "--read-steps int (default 5)"
    assert str(options["distance"]) == "--distance cosine|euclidean (default cosine)"


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("temperature", "2", 2.0),
        ("temperature", 3, 3.0),
        ("read_steps", "7", 7),
        ("read_steps", 7.0, 7),
        ("distance", "euclidean", "euclidean"),
        ("power", "1", 1),
        ("hidden", "64", 64),
        ("hidden", None, None),
        ("name", "7", "7"),
        *[("fce", word, True) for word in ("true", "True", "yes", "on", "1", True)],
        *[("fce", word, False) for word in ("false", "FALSE", "no", "off", "0", False)],
    ],
)
def test_words_become_values_of_the_type_in_the_signature(name: str, word: object, value: object) -> None:
    converted = checked(**{name: word})[name]
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("name", "word", "message"),
    [
        ("temperature", "warm", "--temperature of example takes float, not 'warm'"),
        ("read_steps", "2.5", "--read-steps of example takes int, not '2.5'"),
        ("read_steps", 2.5, "--read-steps of example takes int, not 2.5"),
        ("read_steps", None, "--read-steps of example takes int, not None"),
        ("read_steps", [1], r"--read-steps of example takes int, not \[1\]"),
        ("fce", "maybe", "--fce of example takes bool, not 'maybe'"),
        (
            "distance",
            "cosin",
            r"unknown value of --distance 'cosin'\. Did you mean 'cosine'\? Valid: cosine, euclidean",
        ),
        ("power", "3", r"unknown value of --power '3'\. .*Valid: 1, 2"),
        (
            "tmperature",
            "1",
            r"unknown option of example '--tmperature'\. Did you mean '--temperature'\? Valid: --distance",
        ),
        ("encoder", "x", "unknown option of example '--encoder'"),
        ("tabel", "x", r"unknown option of example '--tabel'\. Valid: "),  # two dashes are not what makes words alike
    ],
)
def test_what_is_no_option_or_no_value_of_it_is_refused_with_what_is_valid(
    name: str, word: object, message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        checked(**{name: word})
    assert "\n" not in str(caught.value)


def test_where_there_are_no_options_the_message_says_so() -> None:
    assert options_of(WithoutOptions) == {}
    with pytest.raises(OptionError, match="bare has no options, so --any-thing is not one of them"):
        checked_options(WithoutOptions, {"any_thing": 1}, "bare")


def test_saying_a_default_aloud_is_no_departure() -> None:
    said = {"temperature": "1.5", "fce": "no", "power": 2, "hidden": None, "read_steps": "6"}
    assert non_default_options(Example, said, "example") == {"read_steps": 6}


@pytest.mark.parametrize(
    "target",
    [*(METHODS.get(name) for name in METHODS), *(ENCODERS.get(name) for name in ENCODERS)],
    ids=[*METHODS, *(f"encoder {name}" for name in ENCODERS)],
)
def test_every_default_of_every_method_and_encoder_is_a_value_that_can_be_typed(target: type) -> None:
    for option in options_of(target).values():
        assert option.kind in (bool, int, float, str), "a word on the command line can be no other type"
        if option.default is not None:
            assert checked_options(target, {option.name: str(option.default)}, "it") == {option.name: option.default}
        if option.choices:
            assert option.default in option.choices
