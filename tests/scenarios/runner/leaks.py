"""Searches what an adapter showed for secrets: unchanged, percent-encoded, and in dumps."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

# A text that each secret of a run contains, except a few of the table.
RUN = f"{os.getpid():08}"

# A row of a hexadecimal dump in a log: sixteen bytes, "--" where there are fewer.
DUMP_ROW = re.compile(r"((?:(?:[0-9a-f]{2}|--){2} ){8})")

# More than any secret: this much of a dump is searched again together with what follows it.
OVERLAP = 1000


class Leaks:
    """The secrets that one adapter was given, and what it showed. Both arrive in parts."""

    def __init__(self) -> None:
        self.numbered: set[str] = set()
        self.others: set[str] = set()
        self.dumped = ""

    def know(self, secret: str) -> None:
        # The setting of the emulator that accepts any token is not a secret.
        if secret and secret != "*":
            forms = {secret, quote(secret, safe="")}
            (self.numbered if RUN in secret else self.others).update(forms)

    def find(self, shown: list[str]) -> list[str]:
        """The texts that contain a secret, without the secret itself."""
        rows = (DUMP_ROW.search(text) for text in shown)
        bits = (bytes.fromhex(row[1].replace("-", "")).decode("latin-1") for row in rows if row)
        dumped = self.dumped + "".join(bits)
        self.dumped = dumped[-OVERLAP:]
        return [found for text in [*shown, dumped] if (found := self.in_text(text))]

    def in_text(self, text: str) -> str:
        # Most secrets contain the run's number. A text without it need not be searched for them.
        for secret in (*self.others, *(self.numbered if RUN in text else ())):
            if secret in text:
                place = text.index(secret)
                near = text[max(0, place - 100) : place + len(secret) + 100]
                return near.replace(secret, "<SECRET>")
        return ""
