"""The extension module, for the other drivers: where it cannot be loaded, each of them says so in the same words."""

from __future__ import annotations

from twoway.errors import NativeMissingError

try:
    from twoway import _native as _native
except ImportError as error:  # not built, or built for another machine or Python
    raise NativeMissingError(str(error)) from None
