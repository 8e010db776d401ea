"""`python -m alexnet COMMAND`: the one command line of the project; the Makefile calls nothing else."""

import importlib
import os
import sys

from . import commands, options
from .errors import AlexnetError


def main(words: list[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 something was found wrong, 2 bad input, 130 stopped by Ctrl-C."""
    parser = commands.parser(__doc__)
    given = sys.argv[1:] if words is None else words
    name = next((f"{parser.prog} {word}" for word in given[:1] if word in commands.COMMANDS), parser.prog)
    try:
        arguments = parser.parse_args(given)
        options.check_environment()
        command = importlib.import_module(f"alexnet.{commands.COMMANDS[arguments.command].module}")
        return command.run(arguments)
    except AlexnetError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
