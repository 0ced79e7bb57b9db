"""Parts of a document that a module makes: between two comments, the rest by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write


@dataclass(frozen=True)
class GeneratedPart:
    """A part of a document.

    Attributes:
        file: of the document.
        begin, end: the lines around the part, line breaks included.
    """

    file: Path
    begin: str
    end: str

    def updated(self, document: str, content: str) -> str:
        """Return the document's text with this content as the part.

        Raises:
            UserError: the text has no such part.
        """
        before, begin, rest = document.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            raise UserError(f"{self.file}: no place for what is made; it is between "
                            f"{self.begin.strip()} and {self.end.strip()}")
        return f"{before}{begin}{content}{end}{after}"

    def write(self, content: str) -> None:
        """Write the document anew, with this content as the part; raises as `updated`."""
        text = self.updated(self.file.read_text(encoding="utf-8"), content)
        with atomic_write(self.file) as stream:
            stream.write(text.encode())
