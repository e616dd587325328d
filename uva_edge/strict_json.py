"""Strict JSON: bytes from anyone -> plain values -> the dataclasses whose annotations are the schema.

Every field of a dataclass is required unless it is `OPTIONAL`, no other field is allowed (a typo must not load
"fine"), nothing is converted, and an error names its field by path, such as ``artifacts[1].files[0].bytes: expected
an integer >= 0, got "12"``. Understood are dataclasses, ``tuple[X, ...]`` and ``tuple[X, Y]``, ``dict[str, X]``,
``Any`` (free-form JSON), and scalars: str, bool, int, float, None, Literal strings, unions of these, and
``Annotated[scalar, Rule]``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, TypeAlias, Union, get_args, get_origin, get_type_hints

from uva_edge.errors import BundleError, ManifestError

MAX_NESTING = 16  # of free-form JSON
MAX_DIGITS = 18  # of an integer: an int64; parsing longer ones costs quadratic time

OPTIONAL = {"uva_edge.optional": True}
"""Metadata of a field that came to the schema after files were written: it may be absent, and is where it would
say its default."""

Scalar: TypeAlias = str | bool | int | float | None

_WORDS: dict[Any, str] = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a finite number",
    types.NoneType: "null",
}


@dataclass(frozen=True)
class Rule:
    """What a scalar must be beyond its type, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]


def matches(expected: str, pattern: str) -> Rule:
    """A rule for strings: the whole of it matches `pattern`."""
    return Rule(expected, lambda text: re.fullmatch(pattern, text, re.ASCII) is not None)


def between(low: int, high: int) -> Rule:
    """A rule for integers: low <= value <= high."""
    return Rule(f"an integer from {low} to {high}", lambda value: low <= value <= high)


Count: TypeAlias = Annotated[int, Rule("an integer >= 0", lambda value: value >= 0)]
Size: TypeAlias = Annotated[int, Rule("an integer >= 1", lambda value: value >= 1)]


def parse(raw: bytes) -> Any:
    """The JSON text in `raw` (UTF-8) as plain values.

    Raises:
        ManifestError: not UTF-8, not JSON, a key twice in one object, NaN or an infinity, an integer of more
            than `MAX_DIGITS` digits, or nested too deeply.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_number,
        )
    except RecursionError:
        raise ManifestError("expected JSON of a few levels, got one that is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both
        raise ManifestError(f"expected JSON in UTF-8: {error}") from None


def encode(value: Any) -> Any:
    """Dataclasses, tuples and dicts as plain JSON values; what `decode` reads back."""
    if dataclasses.is_dataclass(value):
        members = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        kind: Any = type(value)
        absent = _defaults(kind)
        return {
            name: encode(item) for name, item in members.items() if name not in absent or item != absent[name]
        }
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(kind: Any, value: Any, path: str = "") -> Any:
    """The plain `value` as the type `kind`; `path` is where it stands.

    A dataclass's ``__post_init__`` may refuse its fields with a BundleError whose message starts with the
    name of one; the path of the object is put before it.

    Raises:
        ManifestError: `value` is not of that type; the message has the path.
    """
    if kind is Any:
        return _decode_free(value, path, MAX_NESTING)
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, value, path)
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        items = _expect(list, "a list", value, path)
        kinds = arguments[:1] * len(items) if arguments[-1] is ... else arguments
        if len(items) != len(kinds):
            _refuse(path, f"a list of {len(kinds)}", value)
        return tuple(
            decode(kind, item, f"{path}[{index}]")
            for index, (kind, item) in enumerate(zip(kinds, items, strict=True))
        )
    if get_origin(kind) is dict:
        members = _expect(dict, "an object", value, path)
        return {key: decode(arguments[1], item, _at(path, key)) for key, item in members.items()}
    if not _is(kind, value):
        _refuse(path, _words(kind), value)
    return float(value) if kind is float else value


def show(value: Any) -> str:
    """`value` for a message: as JSON, short, and safe to print."""
    if isinstance(value, str):
        return json.dumps(value if len(value) <= 80 else f"{value[:80]}...")
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        return "an integer that is out of range"
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ManifestError(f"the key {show(key)} occurs twice in one object; expected it once")
        result[key] = value
    return result


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ManifestError(f"expected integers of at most {MAX_DIGITS} digits, got one of {len(digits)}")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ManifestError(f"expected finite numbers, got {text[:40]}")
    return value


def _decode_record(kind: Any, value: Any, path: str) -> Any:
    members = _expect(dict, "an object", value, path)
    hints = _hints(kind)
    prefix = f"{path}." if path else ""
    for key in members:
        if key not in hints:
            raise ManifestError(f"{_at(path, key)}: unknown field; expected only {', '.join(hints)}")
    defaults = _defaults(kind)
    for key, hint in hints.items():
        if key not in members and key not in defaults:
            raise ManifestError(f"{prefix}{key}: missing; expected {_words(hint)}")
    values = {
        key: decode(hint, members[key], prefix + key) if key in members else defaults[key]
        for key, hint in hints.items()
    }
    try:
        return kind(**values)
    except BundleError as error:
        raise type(error)(f"{prefix}{error}") from None


def _decode_free(value: Any, path: str, depth: int) -> Any:
    """Any JSON value, nested no deeper than `depth`."""
    if not isinstance(value, (dict, list)):
        return decode(Scalar, value, path)
    if depth == 0:
        raise ManifestError(f"{path}: expected at most {MAX_NESTING} levels of nesting, got more")
    if isinstance(value, list):
        return [_decode_free(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)]
    return {key: _decode_free(item, _at(path, key), depth - 1) for key, item in value.items()}


def _at(path: str, key: Any) -> str:
    """The path of the member `key`, which is checked to be text."""
    if not _is(str, key):
        _refuse(path, "keys that are strings", key)
    return f"{path}[{show(key)}]"


def _is(kind: Any, value: Any) -> bool:
    """Whether `value` is of the scalar type `kind`."""
    origin = get_origin(kind)
    if origin is Annotated:
        base, rule = get_args(kind)
        return _is(base, value) and rule.holds(value)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_is(arm, value) for arm in get_args(kind))
    if kind is str:
        return isinstance(value, str) and _encodable(value)
    if kind is int:
        return type(value) is int and abs(value) < 10**MAX_DIGITS
    if kind is float:
        return _is(int, value) or (isinstance(value, float) and math.isfinite(value))
    return type(value) is kind


def _encodable(text: str) -> bool:
    """False for lone surrogates, which JSON can spell and UTF-8 can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(kind: Any) -> str:
    """`kind` in the words of an error message."""
    origin = get_origin(kind)
    if origin is Annotated:
        rule: Rule = get_args(kind)[1]
        return rule.expected
    if origin is Literal:
        return " or ".join(json.dumps(choice) for choice in get_args(kind))
    if origin in (Union, types.UnionType):
        return " or ".join(_words(arm) for arm in get_args(kind))
    if origin is tuple:
        return "a list"
    return _WORDS.get(kind, "an object")


def _expect(kind: type, words: str, value: Any, path: str) -> Any:
    if not isinstance(value, kind):
        _refuse(path, words, value)
    return value


def _refuse(path: str, expected: str, value: Any) -> NoReturn:
    raise ManifestError(f"{path or 'the whole'}: expected {expected}, got {show(value)}")


@functools.cache
def _defaults(kind: type) -> dict[str, Any]:
    """Of the fields that may be absent."""
    return {item.name: item.default for item in dataclasses.fields(kind) if item.metadata == OPTIONAL}


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}
