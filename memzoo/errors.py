"""Errors that memzoo raises on purpose; each message says what came, what was needed and what to do."""


class MemzooError(Exception):
    """Base of every error below."""


class InvalidArgumentError(MemzooError, ValueError):
    """An argument has a value that the function cannot work with."""


class IndexRangeError(MemzooError, IndexError):
    """An index lies outside of the rows that there are."""


class ValueRangeError(MemzooError, OverflowError):
    """A number is too large for the type in which it is to be stored."""


class InvalidTypeError(MemzooError, TypeError):
    """An argument is of a type that the function cannot work with."""


ARGUMENT_ERRORS = (InvalidArgumentError, InvalidTypeError)
"""Errors about arguments; a caller that read the arguments from a file raises an error about that file instead."""


class NotASelfMapError(MemzooError, ValueError):
    """A function that does not map a space to itself was given where iteration needs one."""


class NonFiniteError(MemzooError, ValueError):
    """NaN or infinity in an input, in a parameter or in an output."""


class NotDifferentiableError(MemzooError, RuntimeError):
    """Automatic differentiation cannot differentiate a map; its differences still can be taken."""


class UnknownCheckpointError(MemzooError, LookupError):
    """No checkpoint of this name; the message names the nearest."""


class CheckpointMissingError(MemzooError, FileNotFoundError):
    """The registry knows the checkpoint, but its files are not on this machine or the Hub lacks them."""


class AlreadyExistsError(MemzooError, FileExistsError):
    """A folder that would be written holds something that must not be replaced."""


class CorruptCheckpointError(MemzooError, ValueError):
    """A file is not what the registry says: another size, hash or keys, or it is no safetensors file."""


class FingerprintError(CorruptCheckpointError):
    """The weights can be loaded, but the network computes another function than the published one."""


class RegistryError(MemzooError, ValueError):
    """``checkpoints.yaml`` does not follow its schema."""


class DataMissingError(MemzooError, FileNotFoundError):
    """The files of a dataset are not in the folder where they were expected."""


class TrainingDivergedError(MemzooError, ArithmeticError):
    """The loss or its gradient is no longer finite; the network holds the last finite weights that were kept."""


class HubUnreachableError(MemzooError, ConnectionError):
    """The Hub cannot be reached or does not work, and a file is not in the cache."""


class HubAccessError(MemzooError, PermissionError):
    """The Hub refuses access: the token is missing or wrong, or does not allow what was asked."""


class StorageError(MemzooError, OSError):
    """A file cannot be stored: the disk is full, or the folder read-only."""


class PublishError(MemzooError, RuntimeError):
    """A checkpoint cannot be published: it lacks something, or would replace what another wrote."""


class AuditInputError(MemzooError, ValueError):
    """An input of an audit is not what the audit needs: module, weights, training images, controls or starts."""


class DependencyMissingError(MemzooError, ImportError):
    """A package that only this function needs is not installed."""


class UsageError(MemzooError, ValueError):
    """A command line, configuration file or option names what does not exist; the message names the nearest."""
