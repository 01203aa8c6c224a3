"""Runs a page's blocks of code, one after another, in the folder that it is started in, and writes
what each printed. Run by test_docs.py, in a process of its own for each page.

    run_page.py BLOCKS.json OUTPUTS.json
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMPILERS = {"c": ["gcc", "-std=c99"], "cpp": ["g++", "-std=c++17"]}
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def output_of(command: list[str], what: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{what}: status {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def run_python(code: str, what: str, line: int, state: dict[str, Any]) -> str:
    """In this process, so that a page's blocks see each other's names."""
    text = "\n" * (line - 1) + code  # tracebacks then name the page's own lines
    linecache.cache[what] = (len(text), None, text.splitlines(True), what)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, what, "exec"), state)
    return printed.getvalue()


def run_program(language: str, code: str, what: str) -> str:
    """Compile strictly, against the headers and the library in this folder, and run."""
    source = Path(f"block.{language}")
    source.write_text(code)
    output_of([*COMPILERS[language], *STRICT, "-IInclude", str(source), "-o", "block", "-Lbuild",
               "-lgraft", f"-Wl,-rpath,{os.getcwd()}/build"], what)
    return output_of(["./block"], what)


def main(blocks: list[dict[str, Any]]) -> list[str]:
    state: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for block in blocks:
        language, code, what = block["language"], block["code"], block["where"]
        if block["word"]:
            Path(block["word"]).write_text(code)
            outputs.append("")
        elif language == "python":
            outputs.append(run_python(code, what, block["line"], state))
        elif language == "sh":
            outputs.append(output_of(["bash", "-euo", "pipefail", "-c", code], what))
        else:
            outputs.append(run_program(language, code, what))
    return outputs


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
