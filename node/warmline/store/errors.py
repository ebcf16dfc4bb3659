"""What can go wrong with the file a node keeps."""

from __future__ import annotations

import errno

import apsw

from warmline_protocol.errors import DiskFullError, StoreError, UsageError


class StoreLockedError(StoreError):
    """Another process of ours has this file open."""


class StoreVersionError(StoreError):
    """The file was written by a newer warmline, or by another program."""


class StoreCorruptError(StoreError):
    """The file's content is damaged."""


class StoreIOError(StoreError):
    """The disk, or the permission to use it, failed."""


class StoreClosedError(UsageError):
    """The store was used after its block ended."""


# SQLite reports a full disk as FULL where it writes pages, but as an I/O error where it grows the
# WAL index or moves a file: on a full tmpfs that second way is the usual one.
_SPACE_ERRORS = frozenset(
    {
        apsw.SQLITE_IOERR_SHMSIZE,
        apsw.SQLITE_IOERR_SHMMAP,
        apsw.SQLITE_IOERR_SHMOPEN,
        apsw.SQLITE_IOERR_WRITE,
        apsw.SQLITE_IOERR_TRUNCATE,
    }
)
_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def disk_full() -> DiskFullError:
    return DiskFullError(
        "the disk is full: nothing was written, and what was already confirmed is safe",
        hint="Free space on the disk that holds the node's directory, or lower its disk budget.",
    )


def translate(error: BaseException, connection: apsw.Connection | None = None) -> BaseException:
    """An SQLite error as one of ours; anything else as it came (a constraint is the caller's to judge)."""
    if isinstance(error, apsw.FullError):
        return disk_full()
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return corrupt(str(error))
    if isinstance(error, apsw.IOError):
        full = _extended(error) in _SPACE_ERRORS and (
            connection is None or connection.system_errno in _SPACE_ERRNOS | {0}
        )
        return disk_full() if full else StoreIOError(f"the disk failed: {error}", hint="Check the disk's health.")
    if isinstance(error, (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError)):
        return StoreIOError(
            f"the store cannot be opened for writing: {error}", hint="Check who owns the node's directory."
        )
    return error


def _extended(error: apsw.Error) -> int:
    return int(getattr(error, "extendedresult", 0))  # set on the instance, unknown to the stubs


def corrupt(detail: str, path: str = "the store") -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} is damaged: {detail}",
        hint="Put the latest backup in its place, and keep the damaged file for whoever helps you.",
    )
