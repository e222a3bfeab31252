"""The way from a finished run to a bundle: model files, their proof of parity, the manifest.

The public names are those of `__all__`, described in docs/api.md; each is imported when it is first
used, so that this import does not load PyTorch. All else is private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ccnvr.firmware_bridge.lazy import lazy_names

if TYPE_CHECKING:
    from ccnvr.export.exporting import Export, export_run
else:  # hidden from type checkers, which would otherwise accept any name
    __getattr__, __dir__ = lazy_names(
        __name__,
        dict.fromkeys(("Export", "export_run"), "ccnvr.export.exporting"),
        extra="export",
    )

__all__ = ["Export", "export_run"]
