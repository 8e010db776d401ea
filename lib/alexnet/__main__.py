"""`python -m alexnet COMMAND`: the one command line of the project; the Makefile calls nothing else."""

# Nothing heavy is imported here, so that help comes and options are refused at once. What a command does is `run` of
# the module that `COMMANDS` names, which is imported when all options are in order.
import importlib
import io
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from . import paths
from .errors import AlexnetError, SpecError
from .paths import count, one_of, path, positive, seed, share, whole

SHARED: dict[str, dict[str, Any]] = {  # by several commands
    "--profile": {"default": "cpu", "help": "smoke, cpu or gpu"},
    "--claim": {"help": "only the runs of this claim, such as relu-speed, or a,b of several"},
    "--seeds": {"type": count, "help": "seeds an arm, where the profile's own number shall not hold"},
    "--fresh": {"action": "store_true", "help": "ignore the committed records; train anew, in build/"},
    "--workers": {"type": count, "help": "processes of one thread each (default: one a core; large runs one by one)"},
    "--minutes": {"type": positive, "help": "start no new run after so many minutes"},
    "--store": {"type": path, "help": "folder of the records (default: the profile's)"},
    "--dry-run": {"action": "store_true", "help": "say what would run, and how long each run takes; run nothing"},
    "--limit": {"type": positive, "default": 900.0, "help": "seconds a notebook may take"},
}


def _share(parser: ArgumentParser, *options: str, **changes: Any) -> None:
    for name in options:
        parser.add_argument(name, **SHARED[name] | changes)


def _report(parser: ArgumentParser) -> None:
    _share(parser, "--profile", "--fresh", "--limit")
    _share(parser, "--seeds", type=whole(2))  # one gives no interval
    _share(parser, "--workers", help="runs and notebooks at a time (default: by the cores)")
    parser.add_argument("--out", type=path, metavar="FOLDER", help="where the pages go (default: the profile's folder)")


def _runs(parser: ArgumentParser) -> None:
    _share(parser, "--profile", "--claim", "--seeds", "--fresh", "--workers", "--minutes", "--store", "--dry-run")
    parser.add_argument("--scheduler", help="address of a Dask scheduler")


def _bundle(parser: ArgumentParser) -> None:
    _share(parser, "--profile", "--claim")
    parser.add_argument("--out", type=path, metavar="FOLDER", help="where the bundle goes (default: build/bundle)")
    version = "{}.{}".format(*sys.version_info)
    versions = one_of("3.11", "3.12", "3.13", "3.14")
    parser.add_argument("--python", type=versions, default=version, help=f"the target's version (default: {version})")
    parser.add_argument("--machine", type=one_of("x86_64", "aarch64"), help="its processor (default: as here)")


def _receive(parser: ArgumentParser) -> None:
    _share(parser, "--profile")
    parser.add_argument("archive", type=path, metavar="ARCHIVE", help="what run.sh of a bundle wrote")


def _train(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=path, help="the checkpoint (default: checkpoints/DATASET.safetensors)")
    parser.add_argument("--dataset", choices=("cifar10", "mnist"), default="cifar10", help="what to train on")
    parser.add_argument("--record", metavar="HASH", help="train the run of this record instead")
    parser.add_argument("--seed", type=seed, help="of weights, order and augmentation (default: 0, or the record's)")
    parser.add_argument("--epochs", type=count, help="end after so many epochs, for a first look")
    parser.add_argument("--threads", type=count, help="of the processor (default: the record's, or all cores)")
    _share(parser, "--dry-run", help="say what would be trained and how long it takes")


def _predict(parser: ArgumentParser) -> None:
    parser.add_argument("image", type=path, metavar="IMAGE", help="the image's file")
    parser.add_argument("--checkpoint", type=path, default=paths.DEFAULT_CHECKPOINT, help="the trained network")
    parser.add_argument("--out", type=path, metavar="PICTURE", help="write a picture to this .png, .svg or .pdf")
    parser.add_argument("--invert", action="store_true", help="swap dark and light, for dark digits on light paper")
    parser.add_argument("--ten-crops", action="store_true", help="the mean over ten crops (section 4.1)")


def _precision(parser: ArgumentParser) -> None:
    _share(parser, "--profile", "--seeds", "--workers", "--minutes", "--dry-run")


def _audit(parser: ArgumentParser) -> None:
    _share(parser, "--profile", "--store")
    _share(parser, "--minutes", help="train runs again, drawn at random, for at most so long")
    parser.add_argument("--seed", type=seed, help="of the draw (default: another one each time; it is recorded)")


def _data(parser: ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=("cifar10", "mnist", "imagenet-weights"), default="cifar10")
    parser.add_argument("--local", type=path, metavar="FOLDER", help="read the files in this folder or archive")
    parser.add_argument("--verify", action="store_true", help="only check the cached copy, and fetch nothing")


def _features(parser: ArgumentParser) -> None:
    parser.add_argument("--dataset", choices=("cifar10",), default="cifar10")


def _notebooks(parser: ArgumentParser) -> None:
    parser.add_argument("--only", action="append", metavar="NN_NAME", help="only this notebook (may be repeated)")
    parser.add_argument("--check", action="store_true", help="execute nothing: check the committed notebooks")
    _share(parser, "--limit")
    _share(parser, "--workers", help="notebooks at a time (default: at most 2)")


def _bench(parser: ArgumentParser) -> None:
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="only these, as in lrn-*; the record is not stored")
    parser.add_argument("--repeats", type=count, help="at most so many measurements of each arm")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")


def _imagenet(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=path, help="holds train/CLASS/*.jpg and val/CLASS/*.jpg")
    evaluated = 'evaluate these, train nothing: "torchvision", or a .pth or .safetensors file'
    parser.add_argument("--weights", type=os.path.expanduser, help=evaluated)
    parser.add_argument("--results", type=path, default=paths.REPORTS / "imagenet", help="folder for what comes out")
    parser.add_argument("--epochs", type=count, default=90, help="at most so many")
    parser.add_argument("--processes", type=count, help="side by side on this machine (default: one a GPU)")
    parser.add_argument("--workers", type=whole(0), help="processes that decode images, for each that trains")
    parser.add_argument("--variant", choices=("as-written", "as-run"), default="as-written", help="paper or its code")
    parser.add_argument("--batch-size", type=count, default=128, help="images, over all processes")
    parser.add_argument("--learning-rate", type=positive, default=0.01)
    parser.add_argument("--patience", type=count, default=3, help="epochs without progress before a drop")
    parser.add_argument("--dropout", type=share, default=0.5)
    parser.add_argument("--width", type=positive, default=1.0, help="multiplies every hidden width, for trials")
    parser.add_argument("--init", choices=("paper", "as-run", "kaiming", "torch"), help="initial weights")
    parser.add_argument("--seed", type=seed, default=0)


def _play(parser: ArgumentParser) -> None:
    parser.add_argument("changes", nargs="*", metavar="PART.FIELD=VALUE", help="such as net.dropout=0.8")
    parser.add_argument("--network", default="alexnet", type=one_of("alexnet", "start", "four-layer"), help="which")


def _try(parser: ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=path, default=paths.DEFAULT_CHECKPOINT, help="the trained network")


def _readme(parser: ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the board is out of step")


class Command(NamedTuple):
    """One word after `python -m alexnet`."""

    module: str  # of alexnet, with run(arguments) -> exit code
    text: str  # its help
    options: Callable[[ArgumentParser], None]  # adds them to a parser


COMMANDS = {
    "report": Command("report.build", "build the HTML report from the run records", _report),
    "runs": Command("experiments.make", "make the run records a profile lacks", _runs),
    "bundle": Command("bundle.packing", "write what a machine without a network needs to make runs", _bundle),
    "receive": Command("bundle.receiving", "take in the records that were made there", _receive),
    "train": Command("prediction.training", "train one network and keep its weights", _train),
    "predict": Command("prediction.classifier", "show a trained network an image", _predict),
    "precision": Command("audit.precision", "repeat runs in float32, and compare", _precision),
    "audit": Command("audit.audit", "prove that the records belong to this code", _audit),
    "data": Command("data.fetch", "fetch and verify the data sets", _data),
    "features": Command("training.features", "compute the features that transfer trains on", _features),
    "notebooks": Command("report.notebooks", "execute notebooks/*.py and write the paired .ipynb", _notebooks),
    "bench": Command("bench.command", "measure speed on this machine", _bench),
    "imagenet": Command("imagenet.job", "train AlexNet on ImageNet, or a folder like it, and evaluate it", _imagenet),
    "play": Command("experiments.play", "train a small network beside one that differs in what you name", _play),
    "try": Command("report.try_it", "put a trained network into a page of the report", _try),
    "readme": Command("report.readme", "write the verdict board into README.md", _readme),
}


class Parser(ArgumentParser):
    """An argument parser that raises `SpecError` where others print how they are used and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the words of the command line."""
        raise SpecError(message)


def parser(description: str) -> Parser:
    """The parser of all commands; which one was given becomes the argument `command`."""
    found = Parser(prog="python -m alexnet", description=description)
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.options(commands.add_parser(name, help=command.text, description=command.text))
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
        command = importlib.import_module(f"alexnet.{COMMANDS[arguments.command].module}")
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
