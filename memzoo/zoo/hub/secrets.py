"""Keep passwords and tokens out of messages and logs."""

import logging
import os
import re
from contextlib import suppress
from urllib.parse import unquote

ADDRESSES = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""Variables that hold an address; those of a proxy are also written in small letters."""
HIDDEN = "***"
SHORTEST = 4
"""Characters of the shortest password that is looked for without its address."""
PATTERNS = (
    (re.compile(r"(?<=://)[^\s/?#]*@"), f"{HIDDEN}@"),
    (re.compile(r"([?&][\w.-]*(?:sig|token|key|credential|secret|password)[\w.-]*=)[^&\s'\"]+", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer|authorization\W+basic)(\s+)[\w.~+/-]{8,}=*", re.I), rf"\1\2{HIDDEN}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{20,}"), HIDDEN),
)
"""User and password in an address, signatures in its query, credentials in a header, tokens of the Hub."""
LIBRARIES = {"huggingface_hub", "httpx", "httpx2", "hf_xet"}


def hide_secrets(text: str) -> str:
    """Return a text with stars in the place of passwords and tokens."""
    for secret in sorted(_find_secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _find_secrets() -> set[str]:
    """Find the token and the passwords that the environment gives, as they are written and as they are meant."""
    from huggingface_hub import get_token

    found: set[str] = set()
    with suppress(OSError):  # HF_HOME is no folder: then there is no token in it
        found.add(get_token() or "")
    for name in ADDRESSES:
        for address in (os.environ.get(name, ""), os.environ.get(name.lower(), "")):
            # A password may hold any character, the last @ ends it.
            user = address.partition("://")[2].rpartition("@")[0]
            password = user.partition(":")[2]
            # Who reads the address in another way than it is meant repeats a piece.
            found |= {user, password, *re.split("[/?#@]", password)}
    found |= {unquote(secret) for secret in found}
    return {secret for secret in found if len(secret) >= SHORTEST}


class HideSecrets(logging.Filter):
    """Hide passwords and tokens in what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a message; none is dropped."""
        record.msg = hide_secrets(record.getMessage())
        record.args = ()
        return True


_FILTER = HideSecrets()


def hide_in_logs() -> None:
    """Let the loggers of the Hub's client, and of what it uses, hide secrets; those that have it already are kept."""
    for name in list(logging.root.manager.loggerDict):
        # A filter holds for the messages of its own logger, and not for those of the loggers below.
        if name.partition(".")[0] in LIBRARIES:
            logging.getLogger(name).addFilter(_FILTER)
