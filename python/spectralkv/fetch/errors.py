"""What goes wrong with a fetch."""


class PullError(RuntimeError):
    """A model could not be fetched; the message says why and what helps."""
