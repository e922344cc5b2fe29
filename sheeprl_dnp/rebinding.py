"""Copies of SheepRL's functions that call other functions by the same names: SheepRL itself stays as it is."""

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any


def rebound(function: FunctionType, **names: Any) -> Callable[..., Any]:
    """A copy of a function in which the given global names mean something else.

    Raises:
        AssertionError: the function doesn't use one of the names, so that giving it another meaning would do nothing.
    """
    unused = names.keys() - set(names_in(function.__code__))
    assert not unused, f"{function.__module__}.{function.__name__} does not use {sorted(unused)}"
    copy = FunctionType(
        function.__code__,
        function.__globals__ | names,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def names_in(code: CodeType) -> Iterator[str]:
    """The names that a code looks up, also in the functions and comprehensions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)
