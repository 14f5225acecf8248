"""Lua in files: what a head may say, that every script loads into a real server, and one that lost them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis.asyncio

import runtime
from runtime.redis_client.connection import connect
from runtime.redis_client.lua import BadLua, LuaScript, load_lua
from tests.lua_scripts import every_script
from tests.servers import ValkeyServer


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.lua").write_text(text)
    return folder


def test_a_head_gives_keys_arguments_and_rows_their_names(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        take="--- Takes.\n--- @flags allow-oom\n--- @key turn\n--- @param owner text  who\n"
        "--- @param most number\n--- @rows id, token  a lease each\n\nreturn most\n",
    )
    assert load_lua(folder, "take", {}).whole == (
        "#!lua flags=allow-oom\nlocal turn = KEYS[1]\nlocal owner = ARGV[1]\n"
        "local most = tonumber(ARGV[2])\nlocal ROWS, ROW = 3, 2\nreturn most\n"
    )


def test_what_is_included_comes_once_and_before_what_needs_it(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        base="--- @const MOST\nlocal function base() return MOST end\n",
        rows="--- @include base\nlocal function rows() return base() end\n",
        both="--- @include base\n--- @include rows\nreturn rows()\n",
    )
    source = load_lua(folder, "both", {"MOST": 2000})
    assert source.shared == (
        "local MOST = 2000\nlocal function base() return MOST end\nlocal function rows() return base() end\n"
    )
    assert source.body == "return rows()\n"


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("--- @nonsense x", "not understood"),
        ("--- @param x integer", "a number or a text"),
        ("--- @param 7 number", "begins with no name"),
        ("--- @rows id, 1 or 2", "begins with no name"),
        ("--- @flags sometimes", "not known"),
        ("--- @const NOBODY", "nobody gives"),
    ],
)
def test_a_head_that_says_something_else_is_refused(tmp_path: Path, head: str, said: str) -> None:
    with pytest.raises(BadLua, match=said):
        load_lua(write(tmp_path, bad=f"{head}\nreturn 1\n"), "bad", {})


def test_a_constant_can_not_break_out_of_its_quotes(tmp_path: Path) -> None:
    folder = write(tmp_path, one="--- @const WORD\nreturn WORD\n")
    with pytest.raises(BadLua, match="can't be a constant"):
        load_lua(folder, "one", {"WORD": "'; redis.call('FLUSHALL') --"})


def test_no_script_counts_its_arguments() -> None:
    files = sorted(Path(next(iter(runtime.__path__))).rglob("*.lua"))
    assert len(files) > 40
    assert not [
        f"{file.name}: {found}"
        for file in files
        for found in re.findall(r"(?:ARGV|KEYS)\[\d+\]", file.read_text())
        if found != "KEYS[1]"
    ]
    assert [file.name for file in files if "KEYS[1]" in file.read_text()] == ["family.lua"]


async def test_every_script_loads_into_a_real_server(module_valkey: ValkeyServer) -> None:
    scripts = every_script()
    assert len(scripts) > 60
    async with redis.asyncio.Redis.from_url(module_valkey.url) as client:
        for name, source in scripts.items():
            assert len(await client.script_load(source)) == 40, name


async def test_a_server_that_lost_its_scripts_is_given_them_again(
    module_valkey: ValkeyServer, tmp_path: Path
) -> None:
    folder = write(
        tmp_path, count="--- @key counter\n--- @param by number\nreturn redis.call('INCRBY', counter, by)\n"
    )
    script = LuaScript(folder, "count")
    client = connect(module_valkey.url)
    try:
        assert await script(client, ("n",), 2) == 2
        await client.script_flush()
        assert await script(client, ("n",), 3) == 5
    finally:
        await client.aclose()
