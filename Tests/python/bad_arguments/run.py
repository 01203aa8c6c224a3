"""Makes the calls of the tables and tells what was not as it should be; a process of its own.

    python run.py FOLDER [FUNCTION ROW]

Prints a line of JSON before each call, [function, row], and one after it where something is wrong,
[function, row, problem]; the last line is "end". Whoever reads them knows which call a process that
died was in, and starts another that begins after that one.
"""

from __future__ import annotations

import ctypes as c
import json
import re
import resource
import sys
from pathlib import Path
from typing import Any, Iterator

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parents[1] / "bindings" / "python")]

from bad_arguments import kinds  # noqa: E402
from bad_arguments.kinds import Count, Destroy, Function, Init, Older, Row  # noqa: E402
from bad_arguments.tables import FUNCTIONS  # noqa: E402
from bad_arguments.tables.status import FUNCTIONS as TEXTS  # noqa: E402
from bad_arguments.world import CANARY, OBJECTS, World  # noqa: E402
from graft._library import find_library  # noqa: E402

#: What a call may take more than the process has: a size that is not refused fails then, instead of
#: taking the machine's memory.
MEMORY = 4 << 30


def rows(table: Function) -> Iterator[tuple[str | None, Row]]:
    """Every row, with the parameter that it is about."""
    for parameter, kind in table.parameters.items():
        for row in kind.rows(parameter):
            yield parameter, row
    for row in table.together:
        yield None, row


class Runner:
    def __init__(self, folder: Path, after: tuple[str, str] | None) -> None:
        self.library = c.CDLL(str(find_library()))
        self.folder = folder
        self.after = after

    def world(self) -> World:
        return World(self.library, self.folder)

    def begin(self, function: str, what: str) -> bool:
        """Whether a row is to be run: not where an earlier process has."""
        if self.after is not None:
            if self.after == (function, what):
                self.after = None
            return False
        print(json.dumps([function, what]), flush=True)
        return True

    def run(self) -> None:
        for name, table in FUNCTIONS.items():
            if self.after is not None and self.after[0] != name:
                continue
            if isinstance(table, Init):
                self.init(name, table)
            elif name in TEXTS:
                self.text(name, table)
            elif isinstance(table, Count):
                self.count(name, table)
            elif isinstance(table, Destroy):
                self.destroy(name, table)
            else:
                self.refused(name, table)
                self.allowed(name, table)
        print("end", flush=True)

    def tell(self, function: str, what: str, problem: str) -> None:
        print(json.dumps([function, what, problem]), flush=True)

    # -- functions that return a status ----------------------------------------------------------

    def begun(self, table: Function) -> tuple[World, dict[str, Any]]:
        world = self.world()
        return world, self.sound(world, table)

    def sound(self, world: World, table: Function) -> dict[str, Any]:
        return {name: kind.sound(world) for name, kind in table.parameters.items()}

    def changed(self, world: World, sound: dict[str, Any], parameter: str | None,
                row: Row) -> dict[str, Any]:
        value = row.value(world, sound)
        return {**sound, **(value if parameter is None else {parameter: value})}

    def refused(self, name: str, table: Function) -> None:
        """Rows whose call must fail: all in one world, since nothing may change."""
        world, sound = self.begun(table)
        kept = len(world.memory)
        for parameter, row in rows(table):
            what = f"{parameter}: {row.what}" if parameter else row.what
            if row.status == kinds.OK or not self.begin(name, what):
                continue
            arguments = self.changed(world, sound, parameter, row)
            before, state = world.bytes(), world.state()
            status = world.raw(name, *arguments.values())
            message = world.message()
            problems = []
            if status != row.status:
                problems.append(f"status {status}, not {row.status}"
                                + (f": {message}" if status else ""))
            elif not self.names(message, row.named if row.named is not None else parameter):
                problems.append(f"the message does not name it: {message}")
            if world.bytes() != before:
                problems.append("memory of the caller's has changed")
            if world.state() != state:
                problems.append("an object has changed")
            if problems:
                self.tell(name, what, "; ".join(problems))
                world, sound = self.begun(table)  # what is broken breaks no other row
            del world.memory[kept:]
        if self.after is None:
            self.go_on(name, table, world)
        world.close()

    def go_on(self, name: str, table: Function, world: World) -> None:
        """What becomes of the objects afterwards is what becomes of those that nothing was refused
        for."""
        what = "what the objects do afterwards"
        if not self.begin(name, what):
            return
        twin = self.world()
        for object in world.objects:
            if object in OBJECTS:
                twin.get(object)
        mine, other = world.probe(), twin.probe()
        for object in other:
            if mine.get(object) != other[object]:
                self.tell(name, what, f"'{object}' has changed")
        twin.close()

    def names(self, message: str, word: str | None) -> bool:
        return bool(message) and (not word or bool(
            re.search(rf"(?<![\w>])(?:{word})(?!\w)", message)))

    def allowed(self, name: str, table: Function) -> None:
        """Rows whose call must succeed, each in a world of its own."""
        for parameter, row in rows(table):
            what = f"{parameter}: {row.what}" if parameter else row.what
            if row.status != kinds.OK or not self.begin(name, what):
                continue
            world = self.world()
            arguments = self.changed(world, self.sound(world, table), parameter, row)
            older = arguments.get(parameter) if parameter else None
            if isinstance(older, Older):
                arguments[parameter] = older.memory
            status = world.raw(name, *arguments.values())
            if status != 0:
                self.tell(name, what, f"status {status}, not 0: {world.message()}")
            if isinstance(older, Older) and set(older.rest()) != {CANARY}:
                self.tell(name, what, "more was written than the caller's struct has")
            for argument, kind in table.parameters.items():
                if isinstance(kind, kinds.Out) and kind.type is c.c_void_p and status == 0:
                    world.end(arguments[argument] and arguments[argument][0])
            world.close()

    # -- functions that return none --------------------------------------------------------------

    def text(self, name: str, table: Function) -> None:
        world = self.world()
        for parameter, row in rows(table):
            if self.begin(name, f"{parameter}: {row.what}"):
                if world.raw(name, row.value(world, {})) is None:
                    self.tell(name, row.what, "NULL")
        if not table.parameters and self.begin(name, "called"):
            if world.raw(name) is None:
                self.tell(name, "called", "NULL")

    def count(self, name: str, table: Count) -> None:
        """A number of a handle's: 0 for whatever is none."""
        world = self.world()
        (parameter, kind), = table.parameters.items()
        if not world.raw(name, kind.sound(world)) > 0:
            self.tell(name, "sound", "0")
        for row in kind.rows(parameter):
            if row.status != kinds.OK and self.begin(name, f"{parameter}: {row.what}"):
                given = row.value(world, {})
                state = world.state()
                if world.raw(name, given) != 0:
                    self.tell(name, row.what, "not 0")
                if world.state() != state:
                    self.tell(name, row.what, "an object has changed")
        world.close()

    def destroy(self, name: str, table: Destroy) -> None:
        """The end of a handle: whatever is none is left alone."""
        world = self.world()
        (parameter, kind), = table.parameters.items()
        sound = kind.sound(world)
        for row in kind.rows(parameter):
            if self.begin(name, f"{parameter}: {row.what}"):
                given = row.value(world, {})
                before, state = world.bytes(), world.state()
                world.raw(name, given)
                if world.bytes() != before or world.state() != state:
                    self.tell(name, row.what, "something has changed")
        if self.begin(name, "twice"):
            world.raw(name, sound)
            world.raw(name, sound)
        world.objects = {object: handle for object, handle in world.objects.items()
                         if handle != sound}
        world.state()
        world.close()

    def init(self, name: str, table: Init) -> None:
        """Defaults into the first `size` bytes, and into none where struct_size does not fit."""
        world = self.world()
        own = c.sizeof(table.type)
        if self.begin(name, "options: NULL"):
            world.raw(name, None, own)
        for size in (0, 1, 7, 8, 9, own - 1, own, own + 1, 1 << 40, 2**64 - 1):
            if not self.begin(name, f"size: {size}"):
                continue
            made = kinds.blank(table.type)
            world.raw(name, c.cast(made, c.POINTER(table.type)), size)
            written = min(size, own) if 8 <= size < 2**63 else 0
            if set(bytes(made)[written:]) != {CANARY}:
                self.tell(name, f"size: {size}", f"more than {written} bytes were written")
            if written and int.from_bytes(bytes(made)[:8], "little") != written:
                self.tell(name, f"size: {size}", "struct_size is not what was written")


def main() -> None:
    folder = Path(sys.argv[1])
    after = (sys.argv[2], sys.argv[3]) if len(sys.argv) > 2 else None
    runner = Runner(folder, after)
    size = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line)
    limit = (size << 10) + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    runner.run()


if __name__ == "__main__":
    main()
