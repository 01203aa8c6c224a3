"""trainer.h"""

from __future__ import annotations

import ctypes as c
import shutil

from graft import _structures as s

from ..kinds import (
    FINITE,
    FINITE_FLOAT32,
    FORMAT,
    INVALID,
    IO,
    MISMATCH,
    OK,
    STATE,
    Any_,
    Choice,
    Count,
    Destroy,
    Flag,
    Function,
    Handle,
    Index,
    Init,
    Kind,
    Out,
    OutStruct,
    Path,
    Real,
    Row,
    Struct,
    Threads,
    Whole,
    put,
)
from .augmentation import AUGMENTATION
from .distillation import STRUCTS as DISTILLATION
from .grafting import STRUCTS as GRAFTING
from .network import UNFINISHED

EPOCHS = 1_000_000


class Directory(Kind):
    """graft_trainer_options.directory."""

    def sound(self, world):
        return None

    def rows(self, name):
        yield put("not UTF-8", b"\xff", INVALID)
        yield put("NULL, and save_every is 1", {"save_every": 1, "directory": None}, INVALID)


class Augmentation(Kind):
    """A pointer to graft_augmentation, NULL for the other two options."""

    def sound(self, world):
        return None

    def rows(self, name):
        yield from AUGMENTATION.rows(name)


STRUCTS = {
    "graft_trainer_options": {
        "epochs": Whole(1, EPOCHS, 2), "batch_size": Whole(1, 65536, 8), "threads": Threads(),
        "momentum": Real(0, 1, 0.9, open_high=True), "weight_decay": Real(0, FINITE_FLOAT32),
        "nesterov": Flag(), "schedule": Choice(3, 1), "step_epochs": Whole(1, EPOCHS, 60),
        "step_factor": Real(0, FINITE, 0.1, open_low=True), "warmup_epochs": Whole(0, EPOCHS),
        "crop_padding": Whole(0, 4096, 1), "flip": Flag(), "grafting": Flag(),
        "teaching": Choice(3), "evaluate": Choice(2), "save": Choice(2),
        "save_every": Whole(0, EPOCHS, 0), "directory": Directory(),
        "decay_weights_only": Flag(), "clip_norm": Real(0, FINITE, infinity=True),
        "augmentation": Augmentation(), "ema_decay": Real(0, 1, 0.5, open_high=True),
        "ema_every": Whole(1, 2**63 - 1, 1), "evaluate_ema": Flag(),
        "evaluate_steps": Whole(0, 2**31 - 1, 0), "precision": Choice(2),
    },
    "graft_member_options": {
        "seed": Any_(), "learning_rate": Real(0, FINITE_FLOAT32, 0.1, open_low=True),
        "weight_decay": Real(0, FINITE_FLOAT32, -1, allowed=(-1.0,)),
        "decay_weights_only": Whole(-1, 1, -1, c.c_int32, allowed=(-1, 0, 1)),
        "label_smoothing": Real(0, 1, -1, allowed=(-1.0, 1.0)),
        "augmentation": Augmentation(),
    },
}
TRAINER_OPTIONS = Struct(
    s.TrainerOptions, STRUCTS["graft_trainer_options"],
    sound=lambda world: dict(epochs=2, batch_size=8, threads=1, ema_decay=0.5))
MEMBER_OPTIONS = Struct(s.MemberOptions, STRUCTS["graft_member_options"])
TRAINER = Handle("trainer")
#: One that networks can still be added to, and one that has begun to run.
READY = Handle("ready trainer", rows=(
    Row("that has begun to run", lambda world, _: world.get("trainer"), STATE, "run"),))
EPOCH = Whole(1, 1, 1)
MEMBER = Index(2)


def both(what, status, named, trainer, **more):
    return Row(what, lambda world, _: {
        "options": c.byref(TRAINER_OPTIONS.made(world, **trainer)),
        **{name: value(world) for name, value in more.items()}}, status, named)


def saved(world) -> str:
    """A checkpoint."""
    path = f"{world.folder}/checkpoint"
    shutil.rmtree(path, ignore_errors=True)
    world.call("graft_trainer_save", world.get("trainer"), path.encode())
    return path


def checkpoint(what, status, named, change) -> Row:
    """A row about a checkpoint that is changed."""
    def made(world, _):
        good = saved(world)
        bad = world.folder / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        change(world, bad)
        return str(bad).encode()
    return Row(what, made, status, named)


def cut(name):
    def change(world, folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-5])
    return change


def of_another(world, folder):
    """A run of other settings."""
    shutil.rmtree(folder)
    options = world.trainer_options()
    options.batch_size = 5
    data = world.get("dataset")
    made = world.made("graft_trainer_create", c.byref(options), None, None, data, None)
    for seed in range(2):
        network = world.network(seed)
        world.call("graft_trainer_add", made, network, None)
        world.raw("graft_network_destroy", network)
    world.call("graft_trainer_save", made, str(folder).encode())
    world.raw("graft_trainer_destroy", made)


def someone_elses(world, _):
    folder = world.folder / "letters"
    folder.mkdir(exist_ok=True)
    (folder / "letter.txt").write_text("dear reader")
    return str(folder).encode()


def fewer(world, _):
    return world.also("fewer", world.network(classes=2), "network")


class Callback(Kind):
    """graft_callback."""

    def sound(self, world):
        return s.Callback(lambda progress, data: 0)

    def rows(self, name):
        yield put("NULL is allowed", s.Callback(0), OK)


FUNCTIONS = {
    "graft_trainer_options_init": Init(s.TrainerOptions),
    "graft_trainer_create": Function(
        {"options": TRAINER_OPTIONS,
         "graft": Struct(s.GraftOptions, GRAFTING["graft_options"], shown="graft->"),
         "distillation": Struct(
             s.DistillationOptions, DISTILLATION["graft_distillation_options"],
             shown="distillation->"),
         "train": Handle("dataset"),
         "test": Handle("dataset", optional=True, rows=(
             Row("of images of another size", lambda world, _: world.get("narrow"), MISMATCH),)),
         "trainer": Out(c.c_void_p)},
        (both("a dry run that is to graft", INVALID, "graft->dry_run", dict(grafting=1),
              graft=lambda world: c.byref(world.struct(s.GraftOptions, dry_run=1))),
         both("evaluate_ema without an average", INVALID, "evaluate_ema",
              dict(evaluate_ema=1, ema_decay=0)),
         both("nesterov without momentum", INVALID, "nesterov", dict(nesterov=1, momentum=0)),
         both("save_every without a directory", INVALID, "save_every", dict(save_every=1)))),
    "graft_trainer_destroy": Destroy({"trainer": TRAINER}),
    "graft_member_options_init": Init(s.MemberOptions),
    "graft_trainer_add": Function(
        {"trainer": READY,
         "network": Handle("other", rows=(
             UNFINISHED,
             Row("of another structure", lambda world, _: world.get("alien"), MISMATCH),
             Row("for other images", lambda world, _: world.get("wide"), MISMATCH),
             Row("with another output", lambda world, _: world.get("more classes"), MISMATCH),
             Row("one that is in training there already", lambda world, _:
                 world.objects["ready trainer's member 1"], INVALID))),
         "options": MEMBER_OPTIONS}),
    "graft_trainer_add_teacher": Function(
        {"trainer": READY,
         "teacher": Handle("alien", rows=(
             UNFINISHED,
             Row("for other images", lambda world, _: world.get("wide"), MISMATCH),
             Row("with another output", lambda world, _: world.get("more classes"), MISMATCH)))}),
    "graft_trainer_run": Function(
        {"trainer": Handle("trainer", rows=(
            Row("without networks", lambda world, _: world.get("new trainer"), STATE,
                "network"),)),
         "callback": Callback(), "user_data": Any_(None, 1)}),
    "graft_trainer_epochs_done": Count({"trainer": TRAINER}),
    "graft_trainer_record": Function(
        {"trainer": TRAINER, "epoch": EPOCH, "network": MEMBER,
         "record": OutStruct(s.EpochRecord)}),
    "graft_trainer_step_record_count": Count({"trainer": TRAINER}),
    "graft_trainer_step_record": Function(
        {"trainer": TRAINER, "index": Index(1), "network": MEMBER,
         "record": OutStruct(s.StepRecord)}),
    "graft_trainer_gradient_norm": Function(
        {"trainer": TRAINER, "network": MEMBER, "norm": Out(c.c_double)}),
    "graft_trainer_ema": Function(
        {"trainer": TRAINER, "network": MEMBER,
         "into": Handle("other", rows=(
             UNFINISHED,
             Row("of another structure", lambda world, _: world.get("alien"), MISMATCH)))}),
    "graft_trainer_graft_report": Function(
        {"trainer": TRAINER, "epoch": EPOCH, "report": Out(c.c_void_p)}),
    "graft_network_evaluate": Function(
        {"network": Handle("open", rows=(
            UNFINISHED, Row("for other images", lambda world, _: world.get("wide"), MISMATCH),
            Row("with fewer outputs than classes", fewer, MISMATCH))),
         "dataset": Handle("dataset"), "batch_size": Whole(1, 65536, 8),
         "evaluation": OutStruct(s.Evaluation)}),
    "graft_evaluate": Function(
        {"network": Handle("open", rows=(
            UNFINISHED, Row("for other images", lambda world, _: world.get("wide"), MISMATCH))),
         "dataset": Handle("dataset"), "batch_size": Whole(1, 65536, 8), "loss": Out(c.c_double),
         "accuracy": Out(c.c_double)}),
    "graft_trainer_save": Function(
        {"trainer": TRAINER,
         "directory": Path(lambda world: f"{world.folder}/run", IO, (
             Row("a directory of something else", someone_elses, INVALID, "letters"),),
             empty=INVALID)}),
    "graft_trainer_load": Function(
        {"trainer": TRAINER,
         "directory": Path(saved, IO, (
             checkpoint("a manifest cut short", FORMAT, "manifest.json", cut("manifest.json")),
             checkpoint("weights cut short", FORMAT, "network-1.safetensors",
                        cut("network-1.safetensors")),
             checkpoint("momentum cut short", FORMAT, "trainer.safetensors",
                        cut("trainer.safetensors")),
             checkpoint("averages cut short", FORMAT, "ema-0.safetensors",
                        cut("ema-0.safetensors")),
             checkpoint("a file missing", IO, "network-0.safetensors",
                        lambda world, folder: (folder / "network-0.safetensors").unlink()),
             checkpoint("of other settings", MISMATCH, "batch_size", of_another)),
             empty=INVALID)}),
}
