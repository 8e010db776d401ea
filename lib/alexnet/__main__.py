"""`python -m alexnet COMMAND`: the one command line of the project; the Makefile calls nothing else."""

# Nothing heavy is imported here, so that help comes and options are refused at once. What a command does is `run` of
# the module that `COMMANDS` names, which is imported when all options are in order.
import importlib
import io
import os
import sys
from argparse import ArgumentParser
from typing import Any, NoReturn

from . import paths
from .errors import AlexnetError, SpecError
from .paths import count, one_of, path, positive, seed, share, whole

Options = dict[str, dict[str, Any]]  # as `add_argument` takes them
VERSION = "{}.{}".format(*sys.version_info)
SHARED: Options = {  # by several commands
    "--profile": {"default": "cpu", "help": "smoke, cpu or gpu"},
    "--claim": {"help": "only the runs of this claim, such as relu-speed, or a,b of several"},
    "--seeds": {"type": count, "help": "seeds an arm, where the profile's own number shall not hold"},
    "--fresh": {"action": "store_true", "help": "ignore the committed records; train anew, in build/"},
    "--workers": {"type": count, "help": "processes of one thread each (default: one a core; large runs one by one)"},
    "--minutes": {"type": positive, "help": "start no new run after so many minutes"},
    "--store": {"type": path, "help": "folder of the records (default: the profile's)"},
    "--dry-run": {"action": "store_true", "help": "say what would run, and how long each run takes; run nothing"},
    "--limit": {"type": positive, "default": 900.0, "help": "seconds a notebook may take"},
    "--checkpoint": {"type": path, "default": paths.DEFAULT_CHECKPOINT, "help": "the trained network"},
}


def _shared(*names: str, **changes: Any) -> Options:
    return {name: SHARED[name] | changes for name in names}


# Each word after `python -m alexnet`: the module of alexnet with run(arguments) -> exit code, its help, its options.
COMMANDS: dict[str, tuple[str, str, Options]] = {
    "report": ("report.build", "build the HTML report from the run records", {
        **_shared("--profile", "--fresh", "--limit"),
        **_shared("--seeds", type=whole(2)),  # one gives no interval
        **_shared("--workers", help="runs and notebooks at a time (default: by the cores)"),
        "--out": {"type": path, "metavar": "FOLDER", "help": "where the pages go (default: the profile's folder)"},
    }),
    "runs": ("experiments.make", "make the run records a profile lacks", {
        **_shared("--profile", "--claim", "--seeds", "--fresh", "--workers", "--minutes", "--store", "--dry-run"),
        "--scheduler": {"help": "address of a Dask scheduler"},
    }),
    "bundle": ("bundle.packing", "write what a machine without a network needs to make runs", {
        **_shared("--profile", "--claim"),
        "--out": {"type": path, "metavar": "FOLDER", "help": "where the bundle goes (default: build/bundle)"},
        "--python": {"type": one_of("3.11", "3.12", "3.13", "3.14"), "default": VERSION,
                     "help": f"the target's version (default: {VERSION})"},
        "--machine": {"type": one_of("x86_64", "aarch64"), "help": "its processor (default: as here)"},
    }),
    "receive": ("bundle.receiving", "take in the records that were made there", {
        **_shared("--profile"),
        "archive": {"type": path, "metavar": "ARCHIVE", "help": "what run.sh of a bundle wrote"},
    }),
    "train": ("prediction.training", "train one network and keep its weights", {
        "--out": {"type": path, "help": "the checkpoint (default: checkpoints/DATASET.safetensors)"},
        "--dataset": {"choices": ("cifar10", "mnist"), "default": "cifar10", "help": "what to train on"},
        "--record": {"metavar": "HASH", "help": "train the run of this record instead"},
        "--seed": {"type": seed, "help": "of weights, order and augmentation (default: 0, or the record's)"},
        "--epochs": {"type": count, "help": "end after so many epochs, for a first look"},
        "--threads": {"type": count, "help": "of the processor (default: the record's, or all cores)"},
        **_shared("--dry-run", help="say what would be trained and how long it takes"),
    }),
    "predict": ("prediction.classifier", "show a trained network an image", {
        "image": {"type": path, "metavar": "IMAGE", "help": "the image's file"},
        **_shared("--checkpoint"),
        "--out": {"type": path, "metavar": "PICTURE", "help": "write a picture to this .png, .svg or .pdf"},
        "--invert": {"action": "store_true", "help": "swap dark and light, for dark digits on light paper"},
        "--ten-crops": {"action": "store_true", "help": "the mean over ten crops (section 4.1)"},
    }),
    "precision": ("audit.precision", "repeat runs in float32, and compare",
                  _shared("--profile", "--seeds", "--workers", "--minutes", "--dry-run")),
    "audit": ("audit.audit", "prove that the records belong to this code", {
        **_shared("--profile", "--store"),
        **_shared("--minutes", help="train runs again, drawn at random, for at most so long"),
        "--seed": {"type": seed, "help": "of the draw (default: another one each time; it is recorded)"},
    }),
    "data": ("data.fetch", "fetch and verify the data sets", {
        "--dataset": {"choices": ("cifar10", "mnist", "imagenet-weights"), "default": "cifar10"},
        "--local": {"type": path, "metavar": "FOLDER", "help": "read the files in this folder or archive"},
        "--verify": {"action": "store_true", "help": "only check the cached copy, and fetch nothing"},
    }),
    "features": ("training.features", "compute the features that transfer trains on",
                 {"--dataset": {"choices": ("cifar10",), "default": "cifar10"}}),
    "notebooks": ("report.notebooks", "execute notebooks/*.py and write the paired .ipynb", {
        "--only": {"action": "append", "metavar": "NN_NAME", "help": "only this notebook (may be repeated)"},
        "--check": {"action": "store_true", "help": "execute nothing: check the committed notebooks"},
        **_shared("--limit"),
        **_shared("--workers", help="notebooks at a time (default: at most 2)"),
    }),
    "bench": ("bench.command", "measure speed on this machine", {
        "--cases": {"nargs": "+", "metavar": "NAME", "help": "only these, as in lrn-*; the record is not stored"},
        "--repeats": {"type": count, "help": "at most so many measurements of each arm"},
        "--list": {"action": "store_true", "help": "list the cases and stop"},
    }),
    "imagenet": ("imagenet.job", "train AlexNet on ImageNet, or a folder like it, and evaluate it", {
        "folder": {"type": path, "help": "holds train/CLASS/*.jpg and val/CLASS/*.jpg"},
        "--weights": {"type": os.path.expanduser,
                      "help": 'evaluate these, train nothing: "torchvision", or a .pth or .safetensors file'},
        "--results": {"type": path, "default": paths.REPORTS / "imagenet", "help": "folder for what comes out"},
        "--epochs": {"type": count, "default": 90, "help": "at most so many"},
        "--processes": {"type": count, "help": "side by side on this machine (default: one a GPU)"},
        "--workers": {"type": whole(0), "help": "processes that decode images, for each that trains"},
        "--variant": {"choices": ("as-written", "as-run"), "default": "as-written", "help": "paper or its code"},
        "--batch-size": {"type": count, "default": 128, "help": "images, over all processes"},
        "--learning-rate": {"type": positive, "default": 0.01},
        "--patience": {"type": count, "default": 3, "help": "epochs without progress before a drop"},
        "--dropout": {"type": share, "default": 0.5},
        "--width": {"type": positive, "default": 1.0, "help": "multiplies every hidden width, for trials"},
        "--init": {"choices": ("paper", "as-run", "kaiming", "torch"), "help": "initial weights"},
        "--seed": {"type": seed, "default": 0},
    }),
    "play": ("experiments.play", "train a small network beside one that differs in what you name", {
        "changes": {"nargs": "*", "metavar": "PART.FIELD=VALUE", "help": "such as net.dropout=0.8"},
        "--network": {"default": "alexnet", "type": one_of("alexnet", "start", "four-layer"), "help": "which"},
    }),
    "try": ("report.try_it", "put a trained network into a page of the report", _shared("--checkpoint")),
    "readme": ("report.readme", "write the verdict board into README.md", {
        "--check": {"action": "store_true", "help": "write nothing; exit with 1 when the board is out of step"},
    }),
}  # fmt: skip


class Parser(ArgumentParser):
    """An argument parser that raises `SpecError` where others print how they are used and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the words of the command line."""
        raise SpecError(message)


def parser(description: str) -> Parser:
    """The parser of all commands; which one was given becomes the argument `command`."""
    found = Parser(prog="python -m alexnet", description=description)
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text, options) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        for option, how in options.items():
            command.add_argument(option, **how)
    return found


def main(words: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 something was found wrong, 2 bad input, 130 stopped by Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may hold what no encoding has
    reader = parser(__doc__)
    given = sys.argv[1:] if words is None else words
    name = next((f"{reader.prog} {word}" for word in given[:1] if word in COMMANDS), reader.prog)
    try:
        arguments = reader.parse_args(given)
        paths.check_environment()
        command = importlib.import_module(f"alexnet.{COMMANDS[arguments.command][0]}")
        return command.run(arguments)
    except AlexnetError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
