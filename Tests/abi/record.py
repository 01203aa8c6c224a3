"""What a compiled program relies on: functions, structs, enumerations, constants, each one line.

    python Tests/abi/record.py            compare the headers and the library with the record
    python Tests/abi/record.py --write    renew the record (make abi-record)

Layouts are the C compiler's own. Nothing may go or change; functions, enumerations' members and,
in structs that begin with their size, fields at the end may come. `--write` takes what has come and
refuses what would break a program, unless the major version (before 1.0 the minor one) has grown.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "Include"
RECORD = Path(__file__).with_name("graft.abi")
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so"))

# What a line begins with, in the record's order, and how many words then name the thing.
NAMED_BY = {"version": 0, "function": 1, "callback": 1, "handle": 1, "struct": 1, "field": 1,
            "value": 1, "constant": 1, "symbol": 1}


# ---- the headers ---------------------------------------------------------------------------------


def declarations(headers: Path) -> str:
    """The text of all headers, without comments, preprocessor lines and the C++ brackets."""
    text = "\n".join(path.read_text() for path in sorted((headers / "graft").glob("*.h")))
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", "", text, flags=re.M)
    return re.sub(r'extern "C" \{|^\}$', "", text, flags=re.M)


def type_of(declaration: str) -> str:
    """An argument without its name: of `const int64_t shape[4]`, `const int64_t[4]`."""
    text = " ".join(declaration.split())
    match = re.fullmatch(r"(.*\W)\w+((?:\[\w*\])*)", text)
    return text if match is None else match[1].strip() + match[2]


def arguments_of(text: str) -> str:
    return ", ".join(type_of(one) for one in text.split(","))


def fields_of(body: str) -> list[tuple[str, str]]:
    """(type, name) of each field."""
    found = []
    for declaration in filter(None, (" ".join(part.split()) for part in body.split(";"))):
        match = re.fullmatch(r"([^,]*[\s*])(\w+)((?:\[\w+\])*)((?:, \w+)*)", declaration)
        if match is None:
            raise ValueError(f"a field that cannot be read: {declaration!r}")
        for name in [match[2], *match[4].split(", ")[1:]]:
            found.append((match[1].strip() + match[3], name))
    return found


def compiled(headers: Path, lines: list[tuple[str, str]]) -> list[str]:
    """Each (text, C expressions) with the expressions' values behind the text."""
    body = "".join(
        "  printf(\"%s%s\\n\", %s);\n" % (
            text, " %lld" * len(values.split("; ")),
            ", ".join(f"(long long)({value})" for value in values.split("; ")))
        for text, values in lines)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "layout.c"), Path(folder, "layout")
        source.write_text(
            "#include <stddef.h>\n#include <stdio.h>\n#include \"graft.h\"\n"
            f"int main(void) {{\n{body}  return 0;\n}}\n")
        subprocess.run(["gcc", "-std=c99", "-I", headers, source, "-o", program], check=True)
        return subprocess.run(
            [program], check=True, capture_output=True, text=True).stdout.splitlines()


def header_lines(headers: Path) -> list[str]:
    text = declarations(headers)
    plain, asked = [], []

    def taken(pattern: str) -> list[re.Match[str]]:
        """All that match, cut out of the text: what is left at the end was not understood."""
        nonlocal text
        found = list(re.finditer(pattern, text, re.S))
        text = re.sub(pattern, " ", text, flags=re.S)
        return found

    for match in taken(r"typedef struct (\w+) \{(.*?)\}\s*(\w+);"):
        name, fields = match[1], fields_of(match[2])
        grows = "grows" if fields[0] == ("size_t", "struct_size") else "fixed"
        asked.append((f"struct {name} {grows} size", f"sizeof({name})"))
        for kind, field in fields:
            asked.append((f"field {name}.{field} {kind} size, offset",
                          f"sizeof((({name} *)0)->{field}); offsetof({name}, {field})"))
    for match in taken(r"typedef enum (\w+) \{(.*?)\}\s*(\w+);"):
        asked.append((f"value {match[1]} size", f"sizeof({match[1]})"))
        for member in re.findall(r"\b(GRAFT_\w+)", match[2]):
            asked.append((f"value {match[1]}.{member}", member))
    for match in taken(r"typedef struct (\w+) (\w+);"):
        plain.append(f"handle {match[1]}")
    for match in taken(r"typedef ([\w ]+)\(\*(\w+)\)\(([^)]*)\);"):
        plain.append(f"callback {match[2]} {match[1].strip()} ({arguments_of(match[3])})")
    for match in taken(r"typedef (\w+) (\w+);"):
        plain.append(f"handle {match[2]} {match[1]}")
    for match in taken(r"([\w ]+?[\w*][ *]*?)\b(graft_\w+)\(([^()]*)\);"):
        result = " ".join(match[1].split())
        plain.append(f"function {match[2]} {result} ({arguments_of(match[3])})")
    if text.strip():
        raise ValueError(f"not understood in the headers: {' '.join(text.split())[:200]}")
    asked += [("constant GRAFT_MAX_RANK", "GRAFT_MAX_RANK"),
              ("constant GRAFT_NO_TENSOR", "GRAFT_NO_TENSOR"),
              ("version", "GRAFT_VERSION_MAJOR; GRAFT_VERSION_MINOR")]
    return plain + compiled(headers, asked)


def symbol_lines(library: Path) -> list[str]:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return ["symbol " + line.split()[-1].split("@")[0] for line in listed.splitlines()]


def current_lines(headers: Path = HEADERS, library: Path = LIBRARY) -> list[str]:
    return header_lines(headers) + symbol_lines(library)


# ---- comparison ----------------------------------------------------------------------------------


def table(lines: list[str]) -> dict[str, str]:
    """What names a thing -> what it is."""
    found = {}
    for line in lines:
        words = line.split(" ")
        count = 1 + NAMED_BY[words[0]] + (words[0] == "value" and words[2] == "size")
        found[" ".join(words[:count])] = " ".join(words[count:])
    return found


def compare(recorded: list[str], current: list[str]) -> tuple[list[str], list[str]]:
    """What would break a program compiled against the record, and what has come."""
    old, new = table(recorded), table(current)
    broken, come = [], []
    for key, was in old.items():
        if key == "version":
            continue
        if key not in new:
            broken.append(f"{key}: gone (was {was or 'there'})")
        elif new[key] != was:
            if key.startswith("struct ") and grown(was, new[key]):
                come.append(f"{key} {new[key]}")
            else:
                broken.append(f"{key}: is {new[key]}, was {was}")
    ends = {key.removeprefix("struct "): int(value.split()[-1])
            for key, value in old.items() if key.startswith("struct ")}
    for key, value in new.items():
        if key in old:
            continue
        struct = key.removeprefix("field ").split(".")[0]
        # In what was padding, older programs have whatever happened to lie there.
        if key.startswith("field ") and struct in ends and int(value.split()[-1]) < ends[struct]:
            broken.append(f"{key}: new, within what {struct} was (its {ends[struct]} bytes)")
        else:
            come.append(f"{key} {value}".strip())
    return broken, come


def grown(was: str, now: str) -> bool:
    return was.split()[:2] == now.split()[:2] == ["grows", "size"] and (
        int(now.split()[-1]) > int(was.split()[-1]))


def may_break(recorded: list[str], current: list[str]) -> bool:
    """Whether the version has grown so that programs must be compiled anew."""
    old, new = ([int(part) for part in table(lines)["version"].split()]
                for lines in (recorded, current))
    return new > old if new[0] == old[0] == 0 else new[0] > old[0]


# ---- the record ----------------------------------------------------------------------------------


def write(lines: list[str], record: Path) -> list[str]:
    """Renew the record; returns what forbids it, nothing having been written then."""
    if record.exists():
        recorded = record.read_text().splitlines()
        broken, _ = compare(recorded, lines)
        if broken and not may_break(recorded, lines):
            return broken
    record.write_text("\n".join(sorted_lines(lines)) + "\n")
    return []


def sorted_lines(lines: list[str]) -> list[str]:
    """By kind and name; a struct's fields keep their order, in which they lie."""
    order = list(NAMED_BY)
    return sorted(lines, key=lambda line: (
        order.index(line.split()[0]),
        line.split()[1].split(".")[0] if line.startswith(("field", "value")) else line))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="renew the record")
    if parser.parse_args().write:
        broken = write(current_lines(), RECORD)
        for line in broken:
            print(line)
        print("not written: programs that are compiled already would break" if broken
              else f"{RECORD.relative_to(ROOT)}: {len(RECORD.read_text().splitlines())} lines")
        return 1 if broken else 0
    broken, come = compare(RECORD.read_text().splitlines(), current_lines())
    for title, lines in (("breaks programs", broken), ("new, not recorded", come)):
        for line in lines:
            print(f"{title}: {line}")
    return 1 if broken or come else 0


if __name__ == "__main__":
    sys.exit(main())
