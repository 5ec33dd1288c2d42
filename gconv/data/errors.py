"""What goes wrong with the files of a data set, told in one line."""


class DataError(ValueError):
    """A file of a data set is damaged, is not what it should be or could not be fetched; the message is one line."""


class MissingDataError(DataError, FileNotFoundError):
    """A file of a data set is not where it was looked for."""
