"""Import what only one data set needs, at the moment it is needed."""

import importlib
from types import ModuleType


def import_optional(module: str, *, package: str, purpose: str) -> ModuleType:
    """Import `module`, or say which package is missing, for what, and how to install it.

    Where an installed package lacks another one, its own error passes through, since installing `package` would not
    mend that.

    Raises:
        ImportError: where `package` is not installed.

    >>> import_optional("math", package="math", purpose="counting").factorial(4)
    24
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        message = f'{purpose} needs {package}, which is not installed: pip install "gconv[train]"'
        raise ImportError(message, name=error.name) from error
