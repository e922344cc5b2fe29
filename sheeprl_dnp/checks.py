"""What pydantic finds wrong with data that a user wrote, as one sentence."""

from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from sheeprl_dnp.runs import ConfigError


class Checked(BaseModel):
    """Data that is checked when it is read; the `description` of a field says what is allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


M = TypeVar("M", bound=BaseModel)


def check(model: type[M], data: Any, prefix: str = "") -> M:
    """The data as an instance of the model.

    Args:
        prefix: what the user knows its keys by, as in `algo.ponder.`.

    Raises:
        ConfigError: they don't fit; it names the key, its value and what is allowed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(sentence(error, model, data, prefix)) from error


def sentence(error: ValidationError, model: type[BaseModel], data: Any, prefix: str = "") -> str:
    """The first of the errors."""
    first = error.errors()[0]
    key, field, value, inner = _locate(first["loc"], model, data)
    key = prefix + key
    if first["type"] == "missing":
        return f"`{key}` is missing: it must be {_allowed(field)}."
    if first["type"] == "extra_forbidden" and inner:
        known = ", ".join(f"`{name}`" for name in inner.model_fields)
        unknown = ".".join([*([key] if key else []), str(first["loc"][-1])])
        return f"`{unknown}` is not a key: it must be one of {known}."
    if first["type"] == "value_error" and str(first["ctx"]["error"]):  # a validator that says it by itself
        return str(first["ctx"]["error"])
    return f"`{key}={shown(value)}` must be {_allowed(field)}." if key else f"It must be {_allowed(field)}."


def shown(value: Any) -> str:
    """As on a command line."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _locate(
    loc: tuple[int | str, ...], model: Any, data: Any
) -> tuple[str, FieldInfo | None, Any, type[BaseModel] | None]:
    """The key of the innermost field that an error is in, that field, its value, and the model that it is or has."""
    key, field, value, kind = "", None, data, model
    for part in loc:
        if not (inner := _model_in(kind)):
            break
        if get_origin(kind) is dict:
            key, value, kind = f"{key}.{part}", value[part], inner
        elif isinstance(part, int):
            key, value = f"{key}[{part}]", value[part]
        elif part in inner.model_fields:
            field = inner.model_fields[part]
            key, value, kind = f"{key}.{part}", value.get(part) if isinstance(value, dict) else value, field.annotation
    return key.lstrip("."), field, value, _model_in(kind)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is one, or is a tuple or a dict of them."""
    candidates = (annotation, *get_args(annotation))
    models = (c for c in candidates if isinstance(c, type) and not get_origin(c) and issubclass(c, BaseModel))
    return next(models, None)  # of Python 3.10, `tuple[Arm, ...]` is an instance of `type`


def _allowed(field: FieldInfo | None) -> str:
    return (field and field.description) or "keys with values"
