"""The errors a user can cause or meet. Each message says what is wrong and what to do about it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # help comes and options are refused without it
    from pydantic import ValidationError


def at_fault(error: "ValidationError", whole: str = "the file", most: int | None = None) -> str:
    """The fields that are wrong, at most so many, each with its reason; `whole` names what has no place in it."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or whole}: {e['msg']}" for e in error.errors()[:most])


class AlexnetError(Exception):
    """Base of all errors of this package; the command line prints them in one line and ends with their exit code."""

    exit_code = 2

    def __str__(self) -> str:
        """The message on one line that can be printed, whatever the name of a file that it quotes."""
        return " ".join(super().__str__().splitlines()).encode(errors="backslashreplace").decode()


class DataError(AlexnetError):
    """A data set is missing, damaged, of the wrong layout, or cannot be fetched or stored."""


class SpecError(AlexnetError):
    """A run, network, profile or option was asked for that does not exist or makes no sense."""


class RecordError(AlexnetError):
    """A run record, its predictions or a checkpoint is damaged, altered, or of another schema version."""


class ReportError(AlexnetError):
    """A notebook or a page could not be built; the last good report is left in place."""


class NothingToDraw(SpecError):
    """The records hold nothing that a figure could show."""
