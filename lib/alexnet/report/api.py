"""The page of the library: every public class and function with its signature and docstring, read from the code."""

import importlib
import inspect
import re
from collections.abc import Iterator
from html import escape
from types import ModuleType

from .. import paths
from .convert import Article, MarkdownWithMath, Renderer, finished

NAME, TITLE = "api", "The library"
MODULES = (  # in the order in which data flow
    "records.specs", "data.datasets", "training.preparation", "training.batches", "training.prepared",
    "networks.layers", "networks.models", "training.recipe", "training.callbacks", "training.learners",
    "runs.execution", "records.record", "records.store", "training.evaluation",
    "prediction.classifier", "data.photograph", "prediction.checkpoints",
    "experiments.profiles", "paper.claims", "statistics.measures", "statistics.effects", "statistics.board",
    "audit.audit",
)  # fmt: skip


def article() -> Article:
    """The page, its sections one a module."""
    parts = [
        f"<h1>{TITLE}</h1>",
        "<p>What the notebooks import, by module, in the order in which data flow. "
        "<code>help(alexnet)</code> shows the same in a terminal.</p>",
    ]
    for name in MODULES:
        parts += _module(importlib.import_module(f"alexnet.{name}"))
    return finished(NAME, "\n".join(parts))


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The classes and functions that a module defines for others, in the order of its source."""
    exported = getattr(module, "__all__", None)
    found = [
        (name, thing)
        for name, thing in vars(module).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and (name in exported if exported else not name.startswith("_") and thing.__module__ == module.__name__)
    ]
    return iter(sorted(found, key=lambda pair: pair[1].__module__))


def _module(module: ModuleType) -> Iterator[str]:
    yield f"<h2>{escape(module.__name__)}</h2>"
    yield _prose(inspect.getdoc(module) or "")
    for name, thing in public(module):
        yield f"<h3><code>{escape(name)}</code></h3>"
        yield f"<pre><code>{escape(signature(name, thing))}</code></pre>"
        yield _prose(inspect.cleandoc(thing.__doc__ or ""))  # getdoc would take that of a library's base class


def signature(name: str, thing: object) -> str:
    """How it is called; fields for classes that are only that. No addresses of objects, nor where the project lies."""
    try:
        text = str(inspect.signature(thing))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        text = "(...)"
    text = re.sub(r"<(?:function|class|object) '?([\w.]+)[^>]*>", r"\1", text)
    text = re.sub(r" at 0x[0-9a-f]+", "", text).replace(f"{paths.ROOT}/", "")
    text = re.sub(r"(?:typing\.)?Annotated\[([^,\]]+), [^\]]*\]", r"\1", text)  # bounds, as pydantic has them
    return f"{name}{text}" if len(text) < 100 else f"{name}({_wrapped(text)}"


def _wrapped(text: str) -> str:
    """A long list of parameters, one a line; commas inside brackets do not end a parameter."""
    body, _, tail = text[1:].rpartition(")")
    depth, start, lines = 0, 0, []
    for place, letter in enumerate(body):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            lines.append(body[start : place + 1].strip())
            start = place + 1
    lines.append(body[start:].strip())
    return "\n    " + "\n    ".join(lines) + f"\n){tail}"


def _prose(text: str) -> str:
    # Markdown would take indented lines for code only after an empty line, which is how docstrings show code too.
    return str(MarkdownWithMath(renderer=Renderer(escape=True)).render(text))
