"""Calls every function of the C interface with arguments at random, for test_bad_arguments.py.

    python random_arguments.py [NAME]

Prints a line of JSON, [function], before the calls of each, and one after them, [function, how many
returned GRAFT_OK, how many an error]; the last line is "end". With a name it begins after that one.
"""

from __future__ import annotations

import ctypes as c
import json
import random
import resource
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python"))

from graft import _functions  # noqa: E402
from graft import _structures as s  # noqa: E402
from graft._library import find_library  # noqa: E402


ROUNDS = 400
#: Those that may make large networks, which takes its time.
HEAVY = {f"graft_network_{name}" for name in (
    "resnet", "mobilenet", "vgg", "wide_resnet", "resnext", "densenet", "imagenet")}
HEAVY_ROUNDS = 8


def call_at_random(library: c.CDLL, name: str, rounds: int) -> None:
    """Calls one function; says on stdout what came back."""
    result, kinds = _functions.FUNCTIONS[name]
    function = getattr(library, name)
    function.restype, function.argtypes = result, kinds
    rng = random.Random(name)
    floats = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    poison = floats.copy()
    poison[5] = np.nan
    wide = floats.astype(np.float64)
    integers = np.arange(4096, dtype=np.int64) % 3
    keep: list[object] = []

    def handle(make: str, *arguments) -> c.c_void_p:
        out = c.c_void_p()
        call = getattr(library, make)
        call.restype, call.argtypes = _functions.FUNCTIONS[make]
        assert call(*arguments, c.byref(out)) == 0, (make, last())
        return out

    def last() -> str:
        library.graft_last_error.restype = c.c_char_p
        return library.graft_last_error().decode()

    def tensor(shape, data=floats, dtype=0, strides=None, size=c.sizeof(s.Tensor), rank=None):
        dimensions = (c.c_int64 * 16)(*shape)
        steps = (c.c_int64 * 16)(*strides) if strides is not None else None
        keep.extend((dimensions, steps, data))
        made = s.Tensor()
        made.struct_size, made.name, made.dtype = size, b"w", dtype
        made.data = None if data is None else data.ctypes.data
        made.rank = len(shape) if rank is None else rank
        made.shape = dimensions
        made.strides = steps
        keep.append(made)
        return c.pointer(made)

    good = tensor((8, 2, 3, 3))
    tensors = [
        None, good, tensor((8, 5)), tensor((40, 3, 8, 8), size=7), tensor((2, 3, 8, 8)),
        tensor((2, 10)), tensor((0, 3)), tensor((-4, 3)), tensor((1 << 62, 1 << 62)),
        tensor((4, 4), data=None), tensor((4, 4), dtype=99), tensor((4, 4), wide, 1),
        tensor((16,), poison), tensor((4, 4), strides=(-1, 1)), tensor((4, 4), strides=(0, 1)),
        tensor((4, 4), strides=(1 << 61, 1 << 61)), tensor((), rank=-1), tensor((), rank=99),
        tensor((8, 2, 3, 3), size=0), tensor((8,), integers, 4), tensor(()),
    ]
    options = s.ResnetOptions()
    library.graft_resnet_options_init.restype = None
    library.graft_resnet_options_init(c.byref(options), c.c_size_t(c.sizeof(options)))
    options.depth, options.height, options.width, options.classes = 8, 8, 8, 3
    network = handle("graft_network_resnet", c.byref(options))
    started = handle("graft_network_create", 3, 8, 8)
    labels = integers.ctypes.data_as(c.POINTER(c.c_int64))
    dataset = handle("graft_dataset_arrays", tensor((20, 3, 8, 8)), labels, 3)
    plan = handle("graft_plan_create", good, c.sizeof(s.Tensor), 1)
    sgd = handle("graft_sgd_create", network, None)
    trainer = handle("graft_trainer_create", None, None, None, dataset, None)
    predictor = handle("graft_predictor_create", network, None)
    pair = (c.POINTER(s.Tensor) * 64)(*[good] * 64)
    handles = [None, network, started, dataset, plan, sgd, trainer, predictor,
               c.cast(floats.ctypes.data, c.c_void_p), c.c_void_p(floats.ctypes.data + 1)]
    numbers = [0, 1, 2, 3, 4, 7, 8, 10, -1, 64, 1000, 65537, 1 << 31, 1 << 40, (1 << 63) - 1,
               -(1 << 63)]
    reals = [0.0, 0.5, 1.0, -1.0, 2.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")]
    texts = [None, b"", b"conv", b"/", b"/nowhere/at/all", b"\xff\xfe", b"a\nb", b"x" * 5000]
    sized = c.sizeof(s.Tensor)

    def struct(kind) -> object:
        made = kind()
        init = next((n for n, (_, a) in _functions.FUNCTIONS.items()
                     if n.endswith("_init") and a[0]._type_ is kind), None)
        if init:
            getattr(library, init).argtypes = _functions.FUNCTIONS[init][1]
            getattr(library, init).restype = None
            getattr(library, init)(c.byref(made), c.sizeof(made))
        else:
            made.struct_size = c.sizeof(made)
        for field, what in kind._fields_[1:]:
            if rng.random() < 0.3:
                if what in (c.c_double,):
                    setattr(made, field, rng.choice(reals))
                elif what in (c.c_int32, c.c_int64, c.c_uint64, c.c_uint32, c.c_int, c.c_size_t):
                    bits = 8 * c.sizeof(what) - 1
                    setattr(made, field, rng.choice(numbers) % (1 << bits))
                elif isinstance(what, type) and issubclass(what, c._Pointer) and issubclass(
                        what._type_, s.Sized) and what._type_ is not s.Tensor:
                    setattr(made, field, c.pointer(struct(what._type_)))
        if rng.random() < 0.15:
            made.struct_size = rng.choice([0, 1, 7, 8, 12, 40, 1 << 40])
        keep.append(made)
        return made

    def nothing(kind) -> object:
        if kind in (c.c_void_p, c.c_char_p) or issubclass(kind, c._Pointer):
            return None
        return 0 if issubclass(kind, c._SimpleCData) else kind()

    def draw(kind) -> object:
        if kind is c.c_void_p:
            return rng.choice(handles)
        if kind is c.POINTER(s.Tensor):
            return rng.choice(tensors)
        if kind is c.POINTER(c.POINTER(s.Tensor)):
            return rng.choice([None, pair])
        if kind is c.c_char_p:
            return rng.choice(texts)
        if kind is c.c_double:
            return rng.choice(reals)
        if kind in (c.c_int32, c.c_uint32, c.c_int, c.c_int64, c.c_uint64, c.c_size_t):
            return kind(rng.choice(numbers)).value
        if issubclass(kind, c._Pointer):
            target = kind._type_
            if issubclass(target, c.Structure):
                return rng.choice([None, c.pointer(struct(target))])
            room = (target * 8192)()
            keep.append(room)
            return rng.choice([None, c.cast(room, kind)])
        return kind()  # a callback that is NULL

    counts = {"ok": 0, "error": 0}

    def end(out: object) -> None:
        """Ends what a call has made."""
        if kinds[-1] is not c.POINTER(c.c_void_p):
            return
        made = ("report" if name in ("graft_apply", "graft_trainer_graft_report")
                else "plan" if name == "graft_network_plan" else name.split("_")[1])
        destroy = getattr(library, f"graft_{made}_destroy")
        destroy.argtypes, destroy.restype = [c.c_void_p], None
        destroy(c.cast(out, c.POINTER(c.c_void_p))[0])

    def call(arguments: list) -> None:
        del keep[200:]
        came = function(*arguments)
        if result is c.c_int and name not in ("graft_version",):
            if came == 0:
                counts["ok"] += 1
                end(arguments[-1])
            else:
                counts["error"] += 1
                assert 1 <= came <= 10, (came, arguments)
                assert came != 10, last()
                assert last(), arguments

    call([nothing(kind) for kind in kinds])
    for _ in range(rounds):
        arguments = [draw(kind) for kind in kinds]
        # How many there are of what a pointer leads to, the library cannot know: say it truly.
        if name == "graft_plan_create":
            arguments[1], arguments[2] = rng.choice([sized, 0, 3]), rng.choice([0, 1])
        if name == "graft_apply":
            arguments[2], arguments[3] = rng.choice([sized, 0, 3]), rng.choice([0, 1])
            arguments[4] = rng.choice([0, 1, 2, 64, 65, 1 << 60])
        if name == "graft_distillation_loss":
            arguments[2] = rng.choice([0, 1, 3, 65, 1 << 60])
        if name in ("graft_dataset_bytes", "graft_dataset_blank"):
            room = (c.c_uint8 * 4096)()
            keep.append(room)
            dimensions = (c.c_int64 * 4)(*rng.choice([(2, 3, 4, 5), (0, 3, 4, 5), (-1, 2, 3, 4),
                                                       (1 << 40, 1 << 40, 3, 3),
                                                       (1, 1, 1, 1 << 40)]))
            keep.append(dimensions)
            place = 1 if name == "graft_dataset_bytes" else 0
            arguments[place] = rng.choice([None, c.cast(dimensions, kinds[place])])
            if place:
                arguments[0] = rng.choice([None, c.cast(room, kinds[0])])
                arguments[2] = None
        if name == "graft_dataset_read":
            arguments[2] = rng.choice([0, 1, 2, 8])
        if name.endswith("_init"):
            arguments[1] = rng.choice([0, 1, 8, 12, c.sizeof(kinds[0]._type_), 1 << 40]) \
                if arguments[0] is None else rng.choice([0, 8, 12, c.sizeof(kinds[0]._type_)])
        if name.endswith("_destroy"):
            arguments = [rng.choice([None, handles[7], handles[8]])]
        call(arguments)
    for kind in ("network", "dataset", "plan", "sgd", "trainer", "predictor"):
        destroy = getattr(library, f"graft_{kind}_destroy")
        destroy.argtypes, destroy.restype = [c.c_void_p], None
        for made in handles[1:8]:
            destroy(made)  # of another kind: left alone
    print(json.dumps([name, counts["ok"], counts["error"]]), flush=True)


def main() -> None:
    library = c.CDLL(str(find_library()))
    # Networks and data of absurd sizes fail for want of memory, instead of taking the machine's.
    size = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line)
    limit = (size << 10) + (2 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    names = sorted(_functions.FUNCTIONS)
    for name in names[names.index(sys.argv[1]) + 1 if len(sys.argv) > 1 else 0:]:
        print(json.dumps([name]), flush=True)
        call_at_random(library, name, HEAVY_ROUNDS if name in HEAVY else ROUNDS)
    print("end", flush=True)


if __name__ == "__main__":
    main()
