"""Strategies. Arbitrary content rarely gets past a decoder's first check, so most of what these make
is a valid sample with a few edits; decoders' deeper branches are then reached, too.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# Where lengths, offsets and counts go wrong.
_EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
EDGE_INTEGERS = (*_EDGES, -1, -2, -(2**31), -(2**63), 1000, 1001, 10**7, 10**9, 86400 * 10**9)
_POSITION = st.integers(0, 2**24)
_Text = TypeVar("_Text", str, bytes)
Edit = tuple[str, int, int, Any, str]

_NUMBERS = (
    *map(str, EDGE_INTEGERS),
    "",
    "00",
    "1.5",
    "1e400",
    "nan",
    "9" * 400,
    "9" * 5000,
    "-" + "9" * 5000,
)

# What the operating system makes of file names and arguments that are no UTF-8, and what people and
# programs never write.
ODD_TEXT = (
    *(
        "",
        " ",
        "\0",
        "\n",
        "\udcff",
        "\ud800",
        "é",
        "²",
        "٣",
        "\N{MATHEMATICAL DOUBLE-STRUCK DIGIT ONE}",
        "\u202e",
        "~",
        "~nobody",
        "..",
        "/",
    ),
    *("-1", "0", "00", "1e999", "nan", "inf", "1_0", "+1", "0x10", "9" * 5000, "a" * 300),
)


def mostly(usual: SearchStrategy[Any], *others: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Three quarters of the first; hypothesis gives all branches of a `one_of` the same weight."""
    return st.integers(0, 3).flatmap(lambda n: usual if n else st.one_of(others))


def text(samples: Sequence[str] = (), tokens: Sequence[str] = ()) -> SearchStrategy[str]:
    """Arbitrary text, and edited samples; `tokens` are what the format is made of."""
    pieces = st.sampled_from((*tokens, *ODD_TEXT)) | st.text(max_size=8)
    made = st.text(max_size=60) | st.lists(pieces, max_size=8).map("".join)
    return mostly(_edited(samples, pieces), made) if samples else made


def arguments(samples: Sequence[str] = (), tokens: Sequence[str] = ()) -> SearchStrategy[str]:
    """What a command line can hold: no NUL, and of the surrogates only what stands for a byte."""
    return text(samples, tokens).map(lambda given: given.replace("\0", "").replace("\ud800", ""))


def content(samples: Sequence[bytes] = (), tokens: Sequence[bytes] = ()) -> SearchStrategy[bytes]:
    """Arbitrary bytes, and edited samples."""
    numbers = [struct.pack(form, n) for form in ("<B", "<H", "<I", "<Q") for n in _EDGES if n < 256]
    numbers += [struct.pack("<I", n) for n in _EDGES if n < 2**32]
    numbers += [struct.pack("<Q", n) for n in _EDGES]
    pieces = st.sampled_from((*tokens, *numbers)) | st.binary(max_size=8)
    made = st.binary(max_size=100) | st.lists(pieces, max_size=8).map(b"".join)
    return mostly(_edited(samples, pieces), made) if samples else made


def utf8(samples: Sequence[str], tokens: Sequence[str] = ()) -> SearchStrategy[bytes]:
    """A text file: mostly UTF-8."""
    as_bytes = [sample.encode() for sample in samples]
    damaged = content(as_bytes, [token.encode("utf-8", "surrogatepass") for token in tokens])
    return mostly(text(samples, tokens).map(lambda t: t.encode("utf-8", "surrogatepass")), damaged)


def _edited(samples: Sequence[_Text], pieces: SearchStrategy[_Text]) -> SearchStrategy[_Text]:
    sample = st.sampled_from(list(samples))
    return st.builds(edited, sample, edits(pieces), sample)


def edits(pieces: SearchStrategy[_Text]) -> SearchStrategy[list[Edit]]:
    """For `edited`."""
    kinds = st.sampled_from(
        ("number", "number", "overwrite", "overwrite", "insert", "delete", "repeat", "cut", "graft")
    )
    number = st.sampled_from(_NUMBERS)
    return st.lists(st.tuples(kinds, _POSITION, st.integers(0, 64), pieces, number), max_size=6)


def edited(sample: _Text, edits: list[Edit], other: _Text) -> _Text:
    """A sample with its edits applied; `other` is what it may be grafted with."""
    for kind, position, length, piece, number in edits:
        at = position % (len(sample) + 1)
        match kind:
            case "number":
                sample = _with_number(sample, position, number)
            case "overwrite":
                sample = sample[:at] + piece + sample[at + len(piece) :]
            case "insert":
                sample = sample[:at] + piece + sample[at:]
            case "delete":
                sample = sample[:at] + sample[at + length :]
            case "repeat":
                sample = sample[:at] + sample[at : at + length] * 2 + sample[at + length :]
            case "cut":
                sample = sample[:at]
            case "graft":
                sample = sample[:at] + other[position % (len(other) + 1) :]
    return sample


def _with_number(sample: _Text, position: int, number: str) -> _Text:
    """With one of its numbers replaced."""
    if isinstance(sample, bytes):
        return _with_number(sample.decode("latin-1"), position, number).encode("latin-1")
    found = list(re.finditer(r"[0-9]+", sample))
    if not found:
        return sample
    chosen = found[position % len(found)]
    return sample[: chosen.start()] + number + sample[chosen.end() :]


_ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(EDGE_INTEGERS)
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(ODD_TEXT),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=5,
)


def values(samples: Sequence[Any]) -> SearchStrategy[Any]:
    """Anything JSON can say, and samples with items replaced, taken out or named otherwise."""
    step = st.tuples(
        st.lists(st.integers(0, 15), min_size=1, max_size=5),
        st.sampled_from(("replace", "replace", "remove", "rename", "repeat")),
        _ANY_VALUE,
    )
    changed = st.builds(_change, st.sampled_from(list(samples)), st.lists(step, max_size=3))
    return mostly(changed, _ANY_VALUE)


def json_files(samples: Sequence[Any]) -> SearchStrategy[bytes]:
    """A JSON file: mostly JSON."""
    written = values(samples).map(lambda value: json.dumps(value).encode())
    damaged = content([json.dumps(s).encode() for s in samples], [b"[", b"{", b'"'])
    return mostly(written, damaged)


def _change(sample: Any, steps: list[tuple[list[int], str, Any]]) -> Any:
    value = copy.deepcopy(sample)
    for path, kind, new in steps:
        inner = value
        for turn in path:
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            if not keys:
                break
            key = keys[turn % len(keys)]
            if turn is path[-1] or not isinstance(inner[key], (dict, list)):
                _change_item(inner, key, kind, new)
                break
            inner = inner[key]
    return value


def _change_item(inner: Any, key: Any, kind: str, new: Any) -> None:
    if kind == "replace":
        inner[key] = new
    elif kind == "remove":
        del inner[key]
    elif isinstance(inner, dict):
        inner[str(new)[:20]] = inner.pop(key)
    else:
        inner.insert(key, inner[key])


_MessageType = TypeVar("_MessageType", bound=Message)


def messages(*samples: _MessageType, words: Sequence[str] = ()) -> SearchStrategy[_MessageType]:
    """Messages of the samples' kind: fields set, cleared, repeated; and damaged on the wire.

    `words` are what their texts may say.
    """
    texts = st.sampled_from([t for t in ODD_TEXT if t.isascii() or t in "é²٣"]) | st.text(
        max_size=12
    )
    scalar = st.tuples(
        st.sampled_from(EDGE_INTEGERS) | st.integers(-(2**63), 2**63 - 1),
        st.sampled_from(words) | texts if words else texts,
        st.floats(),
        st.binary(max_size=12),
    )
    path = st.lists(st.integers(0, 255), min_size=4, max_size=7)
    step = st.tuples(path, st.integers(0, 4), scalar)
    sample = st.sampled_from(list(samples))
    set_or_cleared = st.builds(_set, sample, st.lists(step, max_size=4))
    kind = type(samples[0])
    wire = content([s.SerializeToString() for s in samples]).map(lambda data: _parsed(kind, data))
    return mostly(set_or_cleared, wire)


def _parsed(kind: type[_MessageType], data: bytes) -> _MessageType:
    """Empty where gRPC would have refused it."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return kind()


def _set(sample: _MessageType, steps: list[tuple[list[int], int, Any]]) -> _MessageType:
    message = copy.deepcopy(sample)
    for path, kind, scalar in steps:
        _set_field(message, path, kind, scalar)
    return message


def _set_field(message: Message, path: list[int], kind: int, scalar: Any) -> None:
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if path[0] % 4 and message.ListFields():
        # Mostly what is there already, so that deep fields are reached.
        fields = [field for field, _ in message.ListFields()]
    if not fields:
        return
    field = fields[path[0] // 4 % len(fields)]
    if kind == 0 and (len(path) == 1 or path[-1] % 4 == 0):
        message.ClearField(field.name)
        return
    value = getattr(message, field.name)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    try:
        if is_map:
            kind_of_value = field.message_type.fields_by_name["value"]
            value[scalar[1]] = _scalar(kind_of_value, scalar)
        elif field.message_type is not None:
            inner = value
            if field.is_repeated:
                inner = value[path[-1] % len(value)] if len(value) and kind != 1 else value.add()
            else:
                value.SetInParent()
            if len(path) > 1:
                _set_field(inner, path[1:], kind, scalar)
        elif field.is_repeated:
            value.append(_scalar(field, scalar))
        else:
            setattr(message, field.name, _scalar(field, scalar))
    except (ValueError, TypeError, UnicodeEncodeError):
        return  # no message can hold it


def _scalar(field: FieldDescriptor, scalar: tuple[int, str, float, bytes]) -> Any:
    number, words, fraction, data = scalar
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return data if field.type == FieldDescriptor.TYPE_BYTES else words
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return fraction
        case FieldDescriptor.CPPTYPE_BOOL:
            return bool(number & 1)
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_ENUM:
            return (number + 2**31) % 2**32 - 2**31
        case _:
            return number
