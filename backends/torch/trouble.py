"""What is said of a module that cannot be evaluated or exported: where, and what to do."""

from __future__ import annotations

import contextlib
import io
import logging
import sysconfig
import traceback
from collections.abc import Iterator

from torch import nn

from dlbench.errors import UsageError
from dlbench.spec.network import Shape

_STDLIB = sysconfig.get_path("stdlib")
_DATA_DEPENDENT = ("data-dependent", "data dependent", "DataDependent", "dynamic control flow")


def first_line(error: Exception) -> str:
    """Its kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def is_of_pytorch(file: str) -> bool:
    """Whether a file is no code of the user's."""
    return "/torch/" in file.replace("\\", "/")


def not_taken(error: Exception, module: nn.Module, input_shape: Shape) -> UsageError:
    """That a module goes wrong with inputs of a shape, and how that is written, where its order seems to be wrong."""
    shape, hint = list(input_shape), ""
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None and len(shape) == 3 and first.in_channels != shape[0]:
        takes = first.in_channels
        others = shape[:2] if takes == shape[2] else shape[1:]
        hint = (
            "; --input is C,H,W (channels, height, width), and the first convolution takes "
            f"{takes} channels: --input {','.join(map(str, (takes, *others)))}"
        )
    return UsageError(
        f"the module does not take inputs of {[2, *shape]}: {first_line(error)}{_where(error)}{hint}"
    )


def not_exported(error: Exception) -> UsageError:
    """That `torch.export` does not take a module."""
    text = f"{type(error).__name__} {error}"
    if any(words in text for words in _DATA_DEPENDENT):
        return UsageError(
            f"the module's way depends on the values of its input{_where(error)}: an if, a loop or a number taken out"
            " of a tensor (.item(), int()), which no suite can say; compute the same for every input, like"
            " torch.relu in place of an if"
        )
    return UsageError(f"torch.export does not take the module: {first_line(error)}{_where(error)}")


def _where(error: Exception) -> str:
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_of_pytorch(frame.filename)
        and ("site-packages" in frame.filename or not frame.filename.startswith(_STDLIB))
    ]
    return f" ({own[-1].filename.rpartition('/')[2]}, line {own[-1].lineno})" if own else ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """`torch.export` prints the whole graph where it goes wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
