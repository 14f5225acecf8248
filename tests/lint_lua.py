"""``python -m tests.lint_lua``: every script as a server gets it, checked by luacheck, else by ``luac -p``.

Neither comes with this project: Debian has them as ``lua-check`` and ``lua5.1``. Where there is neither, it
says so, and the tests that load every script into a real server stand alone.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lua_scripts import every_script

GLOBALS = ("redis", "cjson", "KEYS", "ARGV", "unpack", "server")
"""What a server of version 7 gives a script beside Lua 5.1's own."""
TOLERATED = ("211", "212", "213", "221", "231", "311", "411", "421", "431", "432", "542", "631")
"""Unused names (a script includes more than it uses), shadowing, line length."""


def main() -> int:
    checker = shutil.which("luacheck")
    compiler = shutil.which("luac5.1") or shutil.which("luac")
    with tempfile.TemporaryDirectory(prefix="lint-lua-") as folder:
        files = []
        for name, source in every_script().items():
            file = Path(folder) / f"{name}.lua"
            file.write_text("--" + source, encoding="utf-8")  # its first line is no Lua
            files.append(str(file))
        if checker is not None:
            tolerated = [part for code in TOLERATED for part in ("--ignore", code)]
            command = [
                checker,
                "--quiet",
                "--no-color",
                "--std",
                "lua51",
                "--read-globals",
                *GLOBALS,
                *tolerated,
            ]
            return subprocess.run([*command, "--", *files], check=False).returncode
        if compiler is not None:
            return subprocess.run([compiler, "-p", "--", *files], check=False).returncode
    sys.stdout.write(
        "lint: neither luacheck nor luac is on PATH; the scripts are checked by a real server in the tests only\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
