"""The folder with the daily files: what is open, how much there is, what goes. For one thread."""

import logging
import os
from pathlib import Path
from typing import Final

from controller.records.dayfile import Appended, DayFile, sync_folder
from controller.records.lines import FileKey, parse_name
from controller.records.retention import over_cap, to_make_room, too_old

logger = logging.getLogger(__name__)

#: Of folders that are made: the owner writes, its group reads.
FOLDER_MODE: Final = 0o750


class RecordFolder:
    """A folder of record files. Every method that touches the disk may raise OSError, and may be called again then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Bytes of all record files together, as of the last look and what was written since.
        self.bytes = 0
        self._sizes: dict[FileKey, int] = {}
        self._open: dict[FileKey, DayFile] = {}
        self._unsynced: set[FileKey] = set()
        self._new_names = False

    def prepare(self) -> None:
        """Make the folder if need be, and repair what a killed process or a lost machine left torn."""
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self.look()
        for key in self._sizes:
            try:
                file = DayFile(self.path / key.name)
                try:
                    cut = file.mend()
                finally:
                    file.close()
            except OSError as error:
                logger.warning("%s is left as it is: %s", self.path / key.name, error)
                continue
            if cut:
                logger.warning("%s ended in the middle of a line: %d bytes were cut off", self.path / key.name, cut)
        self.look()

    def look(self) -> None:
        """See what is there; files may be removed or added by others."""
        sizes = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                key = parse_name(entry.name)
                if key is not None and entry.is_file():
                    sizes[key] = entry.stat().st_size
        self._sizes = sizes
        self.bytes = sum(sizes.values())

    # --- writing -------------------------------------------------------------------------------------------------

    def append(self, key: FileKey, data: bytes) -> Appended:
        """Append whole lines to a file; never raises, since a part of them may be written."""
        try:
            file = self._file(key)
        except OSError as error:
            return Appended(0, 0, error)
        appended = file.append(data)
        if appended.bytes:
            self._unsynced.add(key)
            self._sizes[key] = self._sizes.get(key, 0) + appended.bytes
            self.bytes += appended.bytes
        return appended

    def _file(self, key: FileKey) -> DayFile:
        file = self._open.get(key)
        if file is not None:
            if file.is_current():
                return file
            self._close(key)
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self.look()
        file = self._open[key] = DayFile(self.path / key.name)
        self._new_names |= file.made
        return file

    def _close(self, key: FileKey) -> None:
        self._unsynced.discard(key)
        self._open.pop(key).close()

    @property
    def unsynced(self) -> bool:
        """Whether a machine that stops now would lose what was written."""
        return bool(self._unsynced)

    def sync(self) -> None:
        """Have everything on the disk when this returns."""
        failure: OSError | None = None
        for key in tuple(self._unsynced):
            try:
                self._open[key].sync()
            except OSError as error:
                failure = error
            else:
                self._unsynced.discard(key)
        if failure is not None:
            raise failure
        if self._new_names:
            sync_folder(self.path)
            self._new_names = False

    def close(self) -> None:
        """Close all files."""
        for key in tuple(self._open):
            self._close(key)

    # --- keeping -------------------------------------------------------------------------------------------------

    def tidy(self, *, today: str, retention_days: int, max_bytes: int) -> None:
        """Close the files of past days; remove those that are too old, and the oldest while there are too many."""
        for key in [key for key in self._open if key.day < today and key not in self._unsynced]:
            self._close(key)
        self.look()
        for key in too_old(self._sizes, today=today, retention_days=retention_days):
            self._remove(key, f"older than {retention_days} days (records.retentionDays)")
        for key in over_cap(self._sizes, today=today, max_bytes=max_bytes):
            self._remove_for_room(key, max_bytes)

    def has_room(self, size: int, *, today: str, max_bytes: int) -> bool:
        """Whether so many bytes may be added; files of past days make room for them, the oldest first."""
        if self.bytes + size <= max_bytes:
            return True
        doomed = to_make_room(self._sizes, today=today, needed=size, max_bytes=max_bytes)
        for key in doomed or ():
            self._remove_for_room(key, max_bytes)
        return doomed is not None

    def _remove_for_room(self, key: FileKey, max_bytes: int) -> None:
        self._remove(key, f"{max_bytes} bytes are allowed in all (records.maxBytes)")

    def _remove(self, key: FileKey, why: str) -> None:
        if key in self._open:
            self._close(key)
        (self.path / key.name).unlink(missing_ok=True)
        self.bytes -= self._sizes.pop(key, 0)
        logger.info("removed %s: %s", self.path / key.name, why)
