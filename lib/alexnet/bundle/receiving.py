"""`python -m alexnet receive`: records that were made elsewhere are taken in, after the audit's checks of each.

An archive with anything else than records is refused as a whole. Of the records, each that is taken, is here already,
or is refused is named; what was refused stays in the archive, and nothing that is here is replaced.
"""

import gzip
import re
import tarfile
import tempfile
import zlib
from argparse import Namespace
from collections import defaultdict
from pathlib import Path

from .. import paths
from ..audit import audit, checks
from ..audit.repetition import say
from ..errors import RecordError
from ..experiments import profiles
from ..records.files import write_atomically
from ..records.record import RunRecord
from ..records.store import Store

NAME = re.compile(r"[0-9a-f]{16}\.(json|npz)")
LARGEST = 100_000_000  # bytes of a file: the largest predictions have a hundredth


def unpack(archive: Path, folder: Path) -> None:
    """The files of an archive of records. Raises `RecordError` where it cannot be read, or holds anything else."""
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as packed:
            for member in packed:
                content = packed.extractfile(member) if member.isreg() and member.size <= LARGEST else None
                if not NAME.fullmatch(member.name) or content is None or (folder / member.name).exists():
                    raise RecordError(
                        f"{archive} holds {member.name!r}, which is no file of a record, or too large, or there twice; "
                        "nothing was taken from it. Use the records.tar.gz that run.sh wrote."
                    )
                (folder / member.name).write_bytes(content.read())
            while stream.read(1 << 20):  # to its end, where its checksum stands
                pass
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise RecordError(f"{archive} cannot be read: {error}. Copy it again.") from error


def judge(arrived: Store, store: Store, profile: str) -> tuple[dict[str, RunRecord], dict[str, list[str]]]:
    """The records of a folder that can be read, and what speaks against each file: nothing, for those to take in."""
    records, against = {}, defaultdict(list)
    for name in arrived.hashes():
        try:
            records[name] = arrived.load(name)
        except RecordError as error:
            against[name].append(str(error))
    here = {name: store.load(name) for name in store.hashes()}
    planned, _ = audit.titles_of_plans(profile, store, here | records)
    for name, record in records.items():
        if name in here and here[name].sha256 != record.sha256:
            against[name].append(
                f"another record of this run is here; to have this one, delete {store.path(name)} first"
            )
        elif name not in here and name not in planned:
            against[name].append("no experiment plans this run")
    for name in {path.stem for path in arrived.folder.glob("*.npz")} - set(arrived.hashes()):
        against[name].append("these are predictions without a record")
    for name, difference in checks.copies((here | records).values()):
        if name in records and name not in here:
            against[name].append(difference)
    new = {name: record for name, record in records.items() if name not in here}
    for name, differences in audit.checked(arrived, new, audit.without_weights(new)):
        against[name] += differences
    return records, against


def run(arguments: Namespace) -> int:
    """Take records in: 0 when all are here now, 1 when one was refused."""
    profile = profiles.check_profile(arguments.profile)
    store = Store(paths.runs_folder(profile))
    with tempfile.TemporaryDirectory(prefix="alexnet-records-") as folder:
        unpack(arguments.archive, Path(folder))
        arrived = Store(folder)
        records, against = judge(arrived, store, profile)
        new = [name for name in records if not against[name] and not store.path(name).exists()]
        for name in new:
            for path in (arrived.folder / f"{name}.npz", arrived.path(name)):  # a record that is there is complete
                if path.exists():
                    write_atomically(store.folder / path.name, path.read_bytes())
            say(f"taken     {name}.json")
        refused = {name: reasons for name, reasons in against.items() if reasons}
        for name, reasons in refused.items():
            say(f"REFUSED   {name}: {'; '.join(reasons).replace(f'{folder}/', '')}")
    print(
        f"{len(new)} records taken into {store.folder}, {len(records.keys() - set(new) - refused.keys())} were there, "
        f"{len(refused)} REFUSED."
    )
    return 1 if refused else 0
