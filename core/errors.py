"""What can go wrong, as one tree of exceptions.

InktexError
 ├─ InputError            ink, an image, a file or an argument that cannot be read
 ├─ VocabularyError       a token the recognizer does not know
 ├─ BundleError           a bundle that is damaged, unsafe or of another format version
 ├─ RuntimeUnavailable    a runtime that is not installed or cannot run here
 ├─ DataError             a data set that cannot be imported or trained on
 ├─ CheckpointError       a checkpoint that cannot be read or resumed from
 ├─ TrainingError         a training that cannot go on
 ├─ ExportError           a recognizer that cannot be written as graphs
 ├─ ParityError           an exported graph that does not agree with its source
 └─ QuantizationError     a graph that cannot be quantised as asked

Every message says what was expected, what was found and what to do.
"""

from __future__ import annotations


class InktexError(Exception):
    """The root of all errors that inktex raises on purpose."""


class InputError(InktexError):
    """Ink, an image, a file or an argument that cannot be read."""


class VocabularyError(InktexError):
    """A token that the recognizer does not know."""


class BundleError(InktexError):
    """A bundle that is damaged, unsafe or of another format version."""


class RuntimeUnavailable(InktexError):  # noqa: N818 - reads as what it says
    """A runtime that is not installed or cannot run on this machine."""


class DataError(InktexError):
    """A data set that cannot be imported or trained on."""


class CheckpointError(InktexError):
    """A checkpoint that cannot be read or resumed from."""


class TrainingError(InktexError):
    """A training that cannot go on."""


class ExportError(InktexError):
    """A recognizer that cannot be written as graphs."""


class ParityError(InktexError):
    """An exported graph that does not agree with its source."""


class QuantizationError(InktexError):
    """A graph that cannot be quantised as asked."""
