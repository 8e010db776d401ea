"""pip install, touched by none of the user's settings of pip but those of where packages come from, and how.

The Makefile runs this file before anything is installed, so it needs the standard library alone.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterable

KEPT = {  # others, such as user, target or no-deps, break an installation into an environment of its own
    "cache-dir", "cert", "client-cert", "default-timeout", "extra-index-url", "find-links", "index-url",
    "keyring-provider", "no-cache-dir", "no-index", "proxy", "retries", "timeout", "trusted-host",
}  # fmt: skip


def kept(listed: Iterable[str]) -> dict[str, str]:
    """The settings kept of what `pip config list` prints, as environment variables; the nearest to the command wins."""
    lines = (line.partition("=")[::2] for line in listed)
    settings = [(*name.rpartition(".")[::2], value) for name, value in lines]
    return {
        f"PIP_{key.upper().replace('-', '_')}": ast.literal_eval(value)
        for place in ("global", "install", ":env:")
        for section, key, value in settings
        if section == place and key in KEPT
    }


def main() -> int:
    """Run `pip install` with the words of the command line; its exit code."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    whole = dict.fromkeys(("PIP_USER", "PIP_GLOBAL", "PIP_SITE", "PIP_QUIET"), "0")  # these would shorten the list
    listed = subprocess.run(
        [*pip, "config", "list"], env=os.environ | whole, stdout=subprocess.PIPE, text=True, check=False
    ).stdout
    others = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment = others | kept(listed.splitlines()) | {"PIP_CONFIG_FILE": os.devnull}
    return subprocess.run([*pip, "install", *sys.argv[1:]], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
