"""How far each file is shipped, on the disk: written whole and renamed, so that a crash leaves one of the two."""

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from controller.records.dayfile import sync_folder
from controller.shipper.source import RecordFile

logger = logging.getLogger(__name__)

#: In the folder of the records.
FILE_NAME: Final = ".cls-offsets.json"


class Offset(msgspec.Struct, frozen=True):
    """How far one file is shipped."""

    inode: int
    #: Bytes that CLS has acknowledged, or that were given up.
    done: int


class _Saved(msgspec.Struct):
    topic: str = ""
    files: dict[str, Offset] = {}


class Offsets:
    """The offsets of one folder for one topic."""

    def __init__(self, folder: Path, topic: str) -> None:
        """Read what an earlier process saved; another topic begins at the beginning."""
        self._path = folder / FILE_NAME
        self._topic = topic
        self._files = self._load()

    def of(self, file: RecordFile) -> int:
        """Where to go on in a file; one that took another's name, or has become shorter, begins anew."""
        known = self._files.get(file.name)
        if known is None or known.inode != file.inode:
            return 0
        if known.done > file.size:
            logger.warning("%s has become shorter than what was shipped of it; it is shipped from the start", file.name)
            return 0
        return known.done

    def save(self, file: RecordFile, done: int) -> None:
        """Remember, on the disk, that a file is dealt with up to this byte.

        Raises:
            OSError: it could not be written.
        """
        self._files[file.name] = Offset(file.inode, done)
        self._write()

    def gone(self, present: list[RecordFile]) -> list[str]:
        """Forget the files that are no longer there; returns their names."""
        names = {file.name for file in present}
        left = [name for name in self._files if name not in names]
        for name in left:
            del self._files[name]
        return left

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            os.fchmod(file.fileno(), 0o640)
            file.write(msgspec.json.encode(_Saved(self._topic, self._files)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        sync_folder(self._path.parent)

    def _load(self) -> dict[str, Offset]:
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, OSError) as error:
            # Sending again is countable; not sending is a loss.
            logger.warning("%s cannot be read, everything is shipped from the start: %s", self._path, error)
            return {}
        if saved.topic != self._topic:
            logger.info("the topic was %s and is %s: everything is shipped from the start", saved.topic, self._topic)
            return {}
        return saved.files
