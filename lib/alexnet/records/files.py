"""What specs and all records share: the frozen base of their parts, and files that are whole or not there."""

import os
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..errors import RecordError

TEMPORARY = ".tmp-"  # what the names of unfinished files begin with; the name they shall have follows


class Part(BaseModel):
    """Base of specs and of the parts of records: immutable, and a misspelt or unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there. Raises `RecordError` when the disk does not take it."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{TEMPORARY}{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise not_writable(path, error) from error


def not_writable(path: Path, error: OSError) -> RecordError:
    """What to say where the disk does not take a file."""
    return RecordError(f"{path} cannot be written: {error.strerror or error}. Free the disk or check its rights.")
