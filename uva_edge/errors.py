"""Every exception that uva_edge raises on purpose.

Each message says what came, what was expected and how to mend it. The tree::

    UvaEdgeError
    ├── OptionError            an argument has a value that is not allowed (also a ValueError)
    ├── FrameError             a frame is not what the color format says it is (also a ValueError)
    ├── MissingPackageError    an optional package is needed and absent (also an ImportError)
    ├── SourceError            a video, image, folder or camera can't be opened or read
    ├── OutputError            a result can't be written
    ├── DataError              a data set on disk is incomplete or malformed
    ├── BundleError
    │   ├── BundleNotFoundError
    │   ├── ManifestError          bundle.json is missing, not JSON, or lacks a field
    │   ├── SchemaVersionError     written by another version of the format
    │   ├── UnsafePathError        a path in the manifest leaves the bundle
    │   ├── MissingFileError       a file that the manifest names is not there
    │   ├── TruncatedFileError     a file is not as long as the manifest says
    │   ├── HashMismatchError      a file's bytes are not those that were written
    │   └── GoldenError            golden.npz does not fit the contract
    ├── BackendError
    │   ├── BackendUnavailableError    the backend that was asked for can't run here
    │   ├── NoBackendError             nothing is left to choose from; carries every reason
    │   ├── SessionError               the engine failed while it loaded or ran
    │   │   ├── WrongDeviceError           the artifact was made for another device
    │   │   └── ProcessError               used in a process that forked, or sent to another
    │   └── ClosedError                used after close()
    └── ExportError
        └── ParityError            an artifact does not compute what its checkpoint does
"""

from __future__ import annotations


class UvaEdgeError(Exception):
    """Base of every error that uva_edge raises on purpose."""


class OptionError(UvaEdgeError, ValueError):
    """An argument has a value that is not allowed."""


class FrameError(UvaEdgeError, ValueError):
    """A frame is not what its color format says: type, dtype, shape or size."""


class MissingPackageError(UvaEdgeError, ImportError):
    """An optional package is needed for what was asked, and it is absent."""


class SourceError(UvaEdgeError):
    """A video, image, folder or camera can't be opened or read."""


class OutputError(UvaEdgeError):
    """A result can't be written where it was asked for."""


class DataError(UvaEdgeError):
    """A data set on disk is incomplete or malformed."""


class DamagedFileError(DataError):
    """An image or a video of a data set can't be decoded; the rest of the set may be good."""


class BundleError(UvaEdgeError):
    """A bundle can't be used."""


class BundleNotFoundError(BundleError):
    """No shipped bundle has this name, and no directory or .zip this path."""


class ManifestError(BundleError):
    """bundle.json is missing, is not JSON, or a field is absent or of a wrong type."""


class SchemaVersionError(BundleError):
    """The bundle was written in a version of the format that this uva_edge does not read."""


class UnsafePathError(BundleError):
    """A path in the manifest would leave the bundle's directory."""


class MissingFileError(BundleError):
    """A file that the manifest names is not in the bundle."""


class TruncatedFileError(BundleError):
    """A file of the bundle is not as long as the manifest says."""


class HashMismatchError(BundleError):
    """A file of the bundle has other bytes than those that were exported."""


class GoldenError(BundleError):
    """golden.npz is damaged or does not fit the bundle's contract."""


class BackendError(UvaEdgeError):
    """A runtime backend can't do what was asked."""


class BackendUnavailableError(BackendError):
    """The backend that was asked for by name can't run here."""


class NoBackendError(BackendError):
    """No backend of this machine can run the bundle as asked; the message lists every reason."""


class SessionError(BackendError):
    """The engine failed while it loaded an artifact or ran it."""


class WrongDeviceError(SessionError):
    """The artifact is sound and was made for another device, or another version of its engine."""


class ProcessError(SessionError):
    """A predictor or stream is of another process: this one was forked from it, or it was to be sent here."""


class ClosedError(BackendError):
    """A predictor, stream or session was used after close()."""


class ExportError(UvaEdgeError):
    """An artifact can't be made."""


class ParityError(ExportError):
    """An artifact was made and run, and does not compute what its checkpoint does."""
