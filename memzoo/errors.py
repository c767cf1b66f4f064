"""The errors that memzoo raises on purpose; each message says what came, what was needed and what to do."""


class MemzooError(Exception):
    """Base of every error below."""


class InvalidArgumentError(MemzooError, ValueError):
    """An argument has a value that the function cannot work with."""


class InvalidTypeError(MemzooError, TypeError):
    """An argument is of a type that the function cannot work with."""


ARGUMENT_ERRORS = (InvalidArgumentError, InvalidTypeError)
"""What a function says of its arguments; its caller may have to say it of a file that they came from."""


class NotASelfMapError(MemzooError, ValueError):
    """A function that does not map a space to itself was given where iteration needs one."""


class NonFiniteError(MemzooError, ValueError):
    """NaN or infinity in an input, in a parameter or in an output."""


class UnknownCheckpointError(MemzooError, LookupError):
    """No checkpoint of this name; the message names the nearest."""


class CheckpointMissingError(MemzooError, FileNotFoundError):
    """The registry knows the checkpoint, but its files are not here."""


class CorruptCheckpointError(MemzooError, ValueError):
    """A file is not what the registry says: other size, other hash, other keys, not a safetensors file."""


class FingerprintError(CorruptCheckpointError):
    """The weights load, but the network computes another function than the one that was published."""


class RegistryError(MemzooError, ValueError):
    """``checkpoints.yaml`` does not follow its schema."""


class DataMissingError(MemzooError, FileNotFoundError):
    """The dataset's files are not where they were looked for."""


class TrainingDivergedError(MemzooError, ArithmeticError):
    """The loss or its gradient is no longer finite; the network holds the last finite weights that were kept."""


class HubUnreachableError(MemzooError, ConnectionError):
    """The Hub does not answer, or not sensibly, and what is needed is not in the cache."""


class HubAccessError(MemzooError, PermissionError):
    """The Hub refuses: a private repository, a token that is missing, wrong or without the right."""


class StorageError(MemzooError, OSError):
    """A file cannot be stored: the disk is full, or the folder read-only."""


class PublishError(MemzooError, RuntimeError):
    """A checkpoint is not fit to be published, or what would be replaced is not ours."""


class AuditInputError(MemzooError, ValueError):
    """What an audit was given is not what it needs: a module, its weights, training images, controls or starts."""


class UsageError(MemzooError, ValueError):
    """A command line, a configuration file or an option asks for what is not there; the message names the nearest."""
