"""Which spans speak of the same thing?  Mentions of entities, from `Entity=` in MISC, as GUM and CorefUD have them.

`(3-person-...` begins a mention of the entity 3 at this word, `3)` ends it, `(3-person-...)` is a whole one. Which of
the fields are the entity and its type, a comment says: `# global.Entity = GRP-etype-infstat`.
"""

import re
from dataclasses import dataclass

PARTS = re.compile(r"\((?P<opens>[^()]+)(?P<closes>\))?|(?P<ends>[^()]+)\)")
FIELDS = re.compile(r"#\s*global\.Entity\s*=\s*(\S+)")
PIECE = re.compile(r"(.+)\[\d+/\d+\]")  # e1[1/2]: the first of the two pieces of a mention that has a gap


@dataclass(frozen=True)
class Mention:
    begin: int  # its first word, from 0
    end: int  # the word after its last
    entity: str
    kind: str  # "" where it is not said


class Mentions:
    """The mentions of a file, from its words in order. Those that cross into another sentence, those with a gap, and
    those of empty nodes alone are no spans: they are left out."""

    def __init__(self, file: str):
        self.file = file
        self.entity_field, self.kind_field = 0, 1  # of the fields that are parted by -
        # entity -> those that have begun, as (sentence, word, type, where), the last one at the end
        self.open: dict[str, list[tuple[int, int, str, str]]] = {}
        self.found: list[Mention] = []
        self.sentence = 0

    def read_comment(self, line: str) -> None:
        """A line that may say what the fields of a mention are."""
        if named := FIELDS.match(line):
            fields = named[1].split("-")
            self.entity_field = fields.index("GRP") if "GRP" in fields else 0
            self.kind_field = next((fields.index(name) for name in ("etype", "entity") if name in fields), -1)

    def read(self, misc: list[str], begin: int, end: int, where: str) -> None:
        """What MISC says of a word, the `begin`-th from 0, with `end` behind it; or of an empty node, which stands
        between two words and has none, so that `end` is `begin`. Errors: ValueError."""
        for item in misc:
            if not item.startswith("Entity="):
                continue
            value = item.removeprefix("Entity=")
            if "".join(part[0] for part in PARTS.finditer(value)) != value:
                raise ValueError(f"{where}: Entity={value} is no row of brackets such as (3-person, 3) or (3-person)")
            for part in PARTS.finditer(value):
                fields = (part["opens"] or part["ends"]).split("-")
                entity = fields[min(self.entity_field, len(fields) - 1)]
                if part["opens"]:
                    kind = fields[self.kind_field] if 0 <= self.kind_field < len(fields) else ""
                    self.open.setdefault(entity, []).append((self.sentence, begin, kind, where))
                if part["ends"] or part["closes"]:
                    self.end(entity, end, where)

    def end(self, entity: str, end: int, where: str) -> None:
        if not self.open.get(entity):
            raise ValueError(f"{where}: Entity has {entity}) here, which ends a mention that did not begin: ({entity}- "
                             "is expected at or before this word")  # fmt: skip
        sentence, begin, kind, _ = self.open[entity].pop()
        if sentence == self.sentence and begin < end and not PIECE.fullmatch(entity):
            self.found.append(Mention(begin, end, entity, kind))

    def end_sentence(self) -> list[Mention]:
        """The mentions of the sentence that ends, from left to right."""
        found, self.found = sorted(self.found, key=lambda one: (one.begin, one.end, one.entity)), []
        self.sentence += 1
        return found

    def end_document(self) -> None:
        """Errors: ValueError for a mention that has begun and does not end."""
        for entity, begun in self.open.items():
            if begun:
                raise ValueError(f"{begun[-1][3]}: Entity has ({entity}- here, which begins a mention, and no "
                                 f"{entity}) in this document ends it")  # fmt: skip
        self.open = {}
