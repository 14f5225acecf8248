"""What the server rules out of a selection by payload field is nothing that matches: payloads of any kind."""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.model import FieldMatch, ItemState, Selection, new_item_id
from runtime.pressure.matching import FieldMatcher, members, needles
from runtime.pressure.selecting import Selector
from runtime.redis_client.connection import Redis, connect
from tests.servers import ValkeyServer

from .conftest import START_US

DEAD = frozenset({ItemState.DEAD})
LETTERS = 'ab"\\/\n\x00:1üé😀\ud800\udc00\ufffd\x7f'
KEYS = (
    "a",
    "b",
    "",
    "0",
    "1",
    "01",
    "a.b",
    'a"b',
    "a/b",
    "a\nb",
    "ü",
    "😀",
    "\ufffd",
    "\ud800",
    '"a":1',
    "\\u0061",
)
NUMBERS = (
    *(
        "0",
        "-0",
        "-0.0",
        "0e5",
        "1",
        "1.0",
        "1e0",
        "10e-1",
        "1E+0",
        "-1",
        "1.0000000000000000001",
        "0.1",
        "1e-1",
    ),
    *(
        "9007199254740992",
        "9007199254740993",
        "9007199254740992.0",
        "9.007199254740993e15",
        "-9007199254740993",
    ),
    *("18446744073709551615", "18446744073709551616", "1" + "0" * 400, "1e400", "-1e400", "5e-324", "1e308"),
    *("NaN", "Infinity", "-Infinity", "nan", "inf", "01", "+1", ".1", "1.", "0x1", "1_0", "--1", "1" * 5000),
)
WORDS = ("true", "false", "null", "True", "nil", "")
VALUES: tuple[str | int | float | bool | None, ...] = (
    *(0, 1, -1, 1.0, 0.1, -0.0, 2**53, 2**53 + 1, -(2**53) - 1, 2**64, 2**64 - 1, 10**400, 5e-324, 1e308),
    *(
        math.inf,
        -math.inf,
        math.nan,
        True,
        False,
        None,
        "",
        "a",
        "true",
        "1",
        "a/b",
        "\ufffd",
        "\ud800",
        '"a":1',
        *("-1.0", "null", "false", "10e-1", "9007199254740993", "1e400", " 1", "01"),
    ),
)
SPACE = st.sampled_from(("", "", "", " ", "\n", "\t\r ", "\v", "\u00a0"))
_SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n"}


@st.composite
def quoted(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A JSON text, each character written in any of its ways; now and then in one that is none."""
    written = []
    for letter in draw(texts):
        units = letter.encode("utf-16-be", "surrogatepass")
        escaped = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
        written.append(
            draw(st.sampled_from((letter, letter, _SHORT.get(letter, letter), escaped, escaped.upper())))
        )
    return f'"{"".join(written)}"'


TEXTS = quoted(
    st.sampled_from(KEYS) | st.sampled_from((*NUMBERS[:20], *WORDS)) | st.text(LETTERS, max_size=4)
)


def _object(members: Sequence[tuple[str, str, str, str]]) -> str:
    return (
        "{" + ",".join(f"{before}{key}{after}:{before}{value}" for key, value, before, after in members) + "}"
    )


SCALARS = st.sampled_from(NUMBERS) | st.sampled_from(WORDS) | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(st.tuples(quoted(st.sampled_from(KEYS)), inner, SPACE, SPACE), max_size=4).map(_object)
        | st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
    ),
    max_leaves=6,
)
DEEP = st.tuples(st.sampled_from(("[", '{"a":', '{"a":[')), st.sampled_from((90, 300, 3000)), SCALARS).map(
    lambda parts: (
        parts[0] * parts[1] + parts[2] + "]}" * parts[1]
        if parts[0].endswith(":[")
        else parts[0] * parts[1] + parts[2] + ("}" if ":" in parts[0] else "]") * parts[1]
    )
)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    raw = draw(JSON | JSON | JSON | DEEP).encode("utf-8", "surrogatepass")
    harm = draw(st.sampled_from(("", "", "", "", "cut", "more", "byte", "mark")))
    if harm == "cut":
        return raw[: draw(st.integers(0, len(raw)))]
    if harm == "byte":
        at = draw(st.integers(0, len(raw)))
        return (
            raw[:at] + draw(st.sampled_from((b"\xff", b"\xe2\x82", b"\xc0\x80", b"\x00", b"\\"))) + raw[at:]
        )
    return (
        raw + draw(JSON).encode("utf-8", "surrogatepass")
        if harm == "more"
        else (b"\xef\xbb\xbf" + raw if harm == "mark" else raw)
    )


FIELDS = st.builds(
    FieldMatch,
    st.lists(st.sampled_from(KEYS), max_size=3).map(tuple),
    st.sampled_from(VALUES) | st.text(LETTERS, max_size=3),
)


def scalars(node: Any, path: tuple[str, ...] = ()) -> Iterator[FieldMatch]:
    """Every field that a value has."""
    if isinstance(node, dict | list):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from scalars(inner, (*path, str(key)))
    else:
        yield FieldMatch(path, node)


def plainly(payload: str, match: FieldMatch) -> bool:
    """The definition, without any haste."""
    try:
        node = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    for key in match.path:
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and re.fullmatch("0|[1-9][0-9]{0,8}", key) and int(key) < len(node):
            node = node[int(key)]
        else:
            return False
    return any(same(node, value) for value in meant(match.value))


def meant(value: str | int | float | bool | None) -> list[Any]:
    """The value itself, and what it is as a text or as a JSON scalar without quotes."""
    if not isinstance(value, str):
        return [value, json.dumps(value)]
    try:
        scalar = json.loads(value, parse_constant=lambda name: name)
    except ValueError:
        return [value]
    plain = scalar is None or isinstance(scalar, bool | int | float)
    return (
        [value, scalar]
        if plain and value == value.strip() and repr(scalar) not in ("inf", "-inf")
        else [value]
    )


def same(node: Any, value: Any) -> bool:
    """As JSON has it: ``1`` is ``1.0``, ``true`` is not ``1``."""
    kinds = {type(node), type(value)}
    return bool(
        (len(kinds) == 1 or kinds == {int, float}) and not isinstance(node, dict | list) and node == value
    )


async def compare(redis: Redis, url: str, texts: Sequence[bytes], own: Sequence[FieldMatch]) -> int:
    """Raises `AssertionError` where a selection is not what the matcher says. Returns how many rows matched."""
    lane = "m" + secrets.token_hex(4)
    base = f"joelclaw:1:{{{lane}/a}}:"
    rows = {new_item_id("a", at_s=1.0): text for text in texts}
    head = f"2:3:{START_US}:test\n".encode()
    await redis.hset(base + "items", mapping={key: head + text for key, text in rows.items()})
    await redis.zadd(base + "dead", dict.fromkeys(rows, START_US))
    read = {key: text.decode("utf-8", "replace") for key, text in rows.items()}
    fields = list(own)
    for text in read.values():
        try:
            fields += list(scalars(json.loads(text)))[:3]
        except (ValueError, RecursionError):
            continue
    selector = Selector(redis, url, lane, now_us=START_US)
    matched = 0
    for wanted in [(one,) for one in fields] + [tuple(fields[:2])]:
        if not wanted:
            continue
        matcher = FieldMatcher(wanted)
        expected = sorted(key for key, text in read.items() if matcher(text))
        for text in read.values():
            assert matcher(text) == all(plainly(text, one) for one in wanted), (text, wanted)
        for ids in (None, tuple(rows)):
            found = await selector.select(Selection(DEAD, fields=wanted, ids=ids), ["a"], ceiling=100)
            assert [item.item_id for item in found.items.get("a", ())] == expected, (rows, wanted)
        matched += len(expected)
    await redis.delete(base + "items", base + "dead")
    return matched


def test_the_server_leaves_out_nothing_that_matches(module_valkey: ValkeyServer) -> None:
    with asyncio.Runner() as runner:
        redis = connect(module_valkey.url)
        matched = 0

        @settings(
            max_examples=200,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(payloads(), min_size=1, max_size=5), st.lists(FIELDS, max_size=4))
        def check(texts: list[bytes], own: list[FieldMatch]) -> None:
            nonlocal matched
            matched += runner.run(compare(redis, module_valkey.url, texts, own))

        try:
            check()
        finally:
            runner.run(redis.aclose())
        assert matched > 50, "the payloads had hardly anything to be found"


@pytest.mark.parametrize(
    ("match", "texts", "pairs"),
    [
        (FieldMatch(("a", "b"), "x"), ('"x"', '"a"'), (('"b"', '"x"'),)),
        (FieldMatch(("a",), 7), (), (('"a"', "7"),)),
        (FieldMatch(("a",), None), (), (('"a"', "null"),)),
        (FieldMatch(("a/b",), True), ("true", "a"), ()),
        (FieldMatch(("a", "0"), True), ("true", '"a"'), ()),
        (FieldMatch(("a",), "7"), (), (('"a"', "7"),)),
        (FieldMatch(("a",), "true"), (), (('"a"', "true"),)),
        (FieldMatch(("a", "0"), "true"), ("true", '"a"'), ()),
        (FieldMatch(("a", "0"), "7"), ('"a"',), ()),
        (FieldMatch(("a",), math.inf), ('"a"',), ()),
        (FieldMatch(("a",), 10**400), ('"a"',), ()),
        (FieldMatch(("a",), "x\ufffdyz"), ("yz", '"a"'), ()),
    ],
)
def test_the_server_is_asked_for_what_is_certain(
    match: FieldMatch, texts: tuple[str, ...], pairs: tuple[tuple[str, str], ...]
) -> None:
    assert (needles((match,)), members((match,))) == (texts, pairs)


@pytest.mark.parametrize(
    ("value", "payloads", "found"),
    [
        (404, ('{"mode": 404}', '{"mode":"404"}', '{"mode": 404.0}', '{"mode":"4040"}', '{"mode":[404]}'), 3),
        ("404", ('{"mode": 404}', '{"mode":"404"}', '{"mode":\t"404" }', '{"mode":"40\\u0034"}'), 4),
        (True, ('{"mode": true}', '{"mode" : "true"}', '{"mode": 1}', '{"mode":"True"}', '{"mode":"1"}'), 2),
        ("true", ('{"mode": true}', '{"mode":"true"}', '{"mode":"truer"}'), 2),
        (None, ('{"mode": null}', '{"mode":  "null"}', "{}", '{"mode":""}'), 2),
        ("eu", ('{"mode": "eu"}', '{"mode":"eu-1"}', '{"mode":{"eu":1}}'), 1),
    ],
)
async def test_a_value_is_found_as_a_number_and_as_a_text(
    module_valkey: ValkeyServer, value: str | float | bool | None, payloads: tuple[str, ...], found: int
) -> None:
    """A shell gives no types: who asks for ``mode=404`` means ``"404"`` too."""
    redis = connect(module_valkey.url)
    matched = await compare(
        redis, module_valkey.url, [text.encode() for text in payloads], [FieldMatch(("mode",), value)]
    )
    lane = "m" + secrets.token_hex(4)
    base = f"joelclaw:1:{{{lane}/a}}:"
    rows = {new_item_id("a", at_s=1.0): text for text in payloads}
    await redis.hset(base + "items", mapping={key: f"2:3:{START_US}:t\n{text}" for key, text in rows.items()})
    await redis.zadd(base + "dead", dict.fromkeys(rows, START_US))
    selection = Selection(DEAD, fields=(FieldMatch(("mode",), value),))
    selected = await Selector(redis, module_valkey.url, lane, now_us=START_US).select(
        selection, ["a"], ceiling=10
    )
    await redis.aclose()
    assert selected.matching == found <= matched


async def test_a_text_in_another_field_is_not_even_sent(module_valkey: ValkeyServer) -> None:
    """By far most rows of a backlog may have it somewhere: their records would cost more than all else."""
    redis = connect(module_valkey.url)
    lane = "m" + secrets.token_hex(4)
    base = f"joelclaw:1:{{{lane}/a}}:"
    rows = {
        new_item_id("a", at_s=1.0): json.dumps({"b": "x" if number else "y", "a": "y" if number else "x"})
        for number in range(200)
    }
    await redis.hset(
        base + "items", mapping={key: f"2:1:{START_US}:test\n{text}" for key, text in rows.items()}
    )
    await redis.zadd(base + "dead", dict.fromkeys(rows, START_US))
    sent: list[int] = []

    class Counting(Selector):
        async def page(self, family: str, *arguments: str | int | float) -> Any:
            reply = await super().page(family, *arguments)
            sent.append(len(reply[4][2]))
            return reply

    found = await Counting(redis, module_valkey.url, lane, now_us=START_US).select(
        Selection(DEAD, fields=(FieldMatch(("a",), "x"),)), ["a"], ceiling=10
    )
    await redis.aclose()
    assert found.matching == 1
    assert found.scanned == 200
    assert sent == [1]
