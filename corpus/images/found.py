"""What does a source hold?  A picture as it lies there, undecoded."""

from dataclasses import dataclass

from corpus.images.pictures import Pixels

REST = "damaged, and so all behind it in this file"


@dataclass(frozen=True)
class Found:
    """A picture as a source has it. Pictures of one `group` are kept on one side of the division; of "", each by
    itself."""

    name: str  # where it lies, for people
    content: bytes | Pixels  # of its file, or its pixels
    label: str | None = None  # its class
    group: str = ""
    trouble: str = ""  # why there is no content
