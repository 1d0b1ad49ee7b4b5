"""Archives in memory."""

from __future__ import annotations

import io
import zipfile


def zipped(**members: bytes) -> bytes:
    """A zip archive of compressed members, by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()
