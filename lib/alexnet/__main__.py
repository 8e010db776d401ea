"""`python -m alexnet COMMAND`: the one command line of the project; the Makefile calls nothing else."""

import importlib
import os
import sys
from argparse import ArgumentParser

from .errors import AlexnetError

COMMANDS = {  # command: (module with add_arguments and run, help)
    "report": ("report", "build the HTML report from the run records"),
    "runs": ("grid", "make the run records a profile lacks"),
    "train": ("training", "train one network and keep its weights"),
    "predict": ("predicting", "show a trained network an image"),
    "precision": ("precision", "repeat runs in float32 and compare them with those in bfloat16"),
    "audit": ("audit", "prove that the records belong to this code"),
    "data": ("data", "fetch and verify the data sets"),
    "features": ("features", "compute the features that transfer trains on"),
    "notebooks": ("notebooks", "execute notebooks/*.py and write the paired .ipynb"),
    "bench": ("bench", "measure speed on this machine"),
    "imagenet": ("imagenet", "train AlexNet on ImageNet, or a folder like it, and evaluate it"),
    "readme": ("readme", "write the verdict board into README.md"),
}


def main(words: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 something was found wrong, 2 bad input, 130 stopped by Ctrl-C."""
    words = sys.argv[1:] if words is None else words
    parser = ArgumentParser(prog="python -m alexnet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        subparser = commands.add_parser(name, help=text, description=text)
        if words[:1] == [name]:  # import only what is asked for: torch and fastai take seconds
            command = importlib.import_module(f"alexnet.{module}")
            command.add_arguments(subparser)
    arguments = parser.parse_args(words)
    try:
        return command.run(arguments)
    except AlexnetError as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
