"""Do words of a kind lie together?  A map of some words, as two pictures."""

from dataclasses import dataclass
from pathlib import Path

from engine.run.recipe import data_path
from probe.lines import read_lines
from probe.maps import draw_maps
from probe.probe import Found, Probe, label_of
from probe.readers import look_up

WORDS = {
    "countries": "france germany italy spain england russia china japan india egypt",
    "capitals": "paris berlin rome madrid london moscow beijing tokyo delhi cairo",
    "family": "father mother son daughter brother sister uncle aunt husband wife",
    "numbers": "one two three four five six seven eight nine ten",
    "animals": "dog cat horse cow sheep lion tiger wolf fish bird",
    "music": "guitar piano drums violin song singer band opera concert album",
    "nature": "river lake sea mountain valley forest island desert storm rain",
    "verbs": "go run walk come take give say speak write read",
}


@dataclass(frozen=True, kw_only=True)
class WordMap(Probe):
    """A map of words by what the last layer says of each. There is no score, so it stands in no table."""

    path: str = ""  # a word in each line, in groups that begin with a line `: NAME`; "": words of eight kinds

    @property
    def task(self) -> str:
        return f"word_map/{label_of(self.path)}" if self.path else "word_map"

    @property
    def files(self) -> tuple[str, ...]:
        return (self.path,) if self.path else ()

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        groups = read_groups(data_path(self.path)) if self.path else {k: words.split() for k, words in WORDS.items()}
        group_of = {word: name for name, words in groups.items() for word in words}
        known = look_up(model, list(group_of), untrained, seed)
        words, missing = list(known.rows), [word for word in group_of if word not in known.rows]
        lines = [f"# A map of {len(words)} words", ""]
        if missing:
            lines.append(f"Not in its vocabulary: {', '.join(missing)}.")
        if not known.layers:
            return Found(page="\n".join(lines) + "\n")
        layer = f"layer {len(known.layers) - 1}" if len(known.layers) > 1 else "word vectors"
        maps = draw_maps(known.layers[-1], words, [group_of[word] for word in words], seed, layer)
        return Found(page="\n".join(lines) + "\n", pictures=maps)


def read_groups(path: Path) -> dict[str, list[str]]:
    """Words by group; those before the first `: NAME` are of a group without a name. Errors: ValueError."""
    groups: dict[str, list[str]] = {}
    name = label_of(str(path))
    for number, line in read_lines(path):
        word = line.strip()
        if word.startswith(":"):
            name = word[1:].strip()
        elif len(word.split()) > 1:
            raise ValueError(f"{path}, line {number}: one word is expected, or a group (: NAME); found {word[:60]!r}")
        else:
            groups.setdefault(name, []).append(word)
    if not groups:
        raise ValueError(f"{path} holds no words, one in each line")
    return groups
