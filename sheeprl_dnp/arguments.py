"""What the commands take as arguments (`type=` of argparse)."""

import argparse
import re


def count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 1")
    return int(value)


def numbers(value: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", value):
        raise argparse.ArgumentTypeError(f"{value!r} is not a list of whole numbers, as in 1,2,3")
    return tuple(map(int, value.split(",")))


def names(value: str) -> tuple[str, ...]:
    return tuple(name for name in value.split(",") if name)
