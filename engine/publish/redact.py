"""What must never be shown?  Tokens of the Hub, whoever puts them into a text: a server, a library, an address."""

import os
import re
from urllib.parse import quote

from huggingface_hub import get_token

HIDDEN = "<hidden>"
# What a token looks like: the Hub's own kinds, what an Authorization header holds, what an address may hold.
SECRETS = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"
    r"|\bBearer\s+[^\s\"'<>,]+"
    r"|\bAuthorization\W{1,6}(?:(?:Basic|Bearer)\s+)?[^\s\"'<>,]+"
    r"|(?<=://)[^\s/@]+(?=@)"
    r"|(?<=[?&]token=)[^\s&\"']+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text without the tokens that this process has, and without anything that looks like one."""
    for token in (get_token(), os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN")):
        if token and token.strip():
            for written in (token.strip(), quote(token.strip(), safe="")):
                text = text.replace(written, HIDDEN)
    return SECRETS.sub(HIDDEN, text)
