"""How good are tags of entities (NER)?  An entity counts if its type and both its ends are right.

By the rules of conlleval, the scorer of the shared task (Tjong Kim Sang & De Meulder 2003), whose numbers are the
published ones: B- begins an entity, and so does an I- that continues none of its type. "strict_f1" beside it takes
the tags as IOB2 and leaves out the entities that begin without a B-.
"""

from collections.abc import Iterable, Sequence

Entity = tuple[int, int, str]  # first word, the word after the last one, type
Placed = set[tuple[int, int, int, str]]  # the number of the sentence, and as above


def score_entities(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """ "precision", "recall" and "f1" over all entities, "strict_f1", and "precision_PER" and so on for each type.

    Fractions, 0.0 where there is nothing to divide by.
    """
    right, given = number_entities(map(find_entities, references)), number_entities(map(find_entities, predictions))
    strict = measure(
        number_entities(map(find_strict_entities, references)), number_entities(map(find_strict_entities, predictions))
    )
    scores = measure(right, given) | {"strict_f1": strict["f1"]}
    for kind in sorted({kind for *_, kind in right | given}):
        own = measure({one for one in right if one[-1] == kind}, {one for one in given if one[-1] == kind})
        scores |= {f"{name}_{kind}": value for name, value in own.items()}
    return scores


def find_entities(tags: Sequence[str]) -> list[Entity]:
    """The entities that a sentence's tags make up, in order.

    B- begins one, I- continues one of its type or else begins one; E- ends one, and S- is one by itself. A tag
    without such a letter, as parts of speech are, is read as if it had I-.

    >>> find_entities(["B-PER", "I-PER", "B-PER", "O", "I-LOC"])
    [(0, 2, 'PER'), (2, 3, 'PER'), (4, 5, 'LOC')]
    """
    found: list[Entity] = []
    goes_on: str | None = None  # the type of the entity that the next word may belong to
    for place, tag in enumerate(tags):
        letter, kind = (tag[0], tag[2:]) if tag[1:2] == "-" and tag[0] in "BIES" else ("I", tag)
        if tag == "O":
            goes_on = None
            continue
        if letter in "BS" or kind != goes_on:
            found.append((place, place + 1, kind))
        else:
            found[-1] = (found[-1][0], place + 1, kind)
        goes_on = None if letter in "ES" else kind
    return found


def find_strict_entities(tags: Sequence[str]) -> list[Entity]:
    return [entity for entity in find_entities(tags) if tags[entity[0]].startswith("B-")]


def number_entities(sentences: Iterable[Sequence[Entity]]) -> Placed:
    """All entities, each with the number of its sentence."""
    return {(number, *entity) for number, found in enumerate(sentences) for entity in found}


def measure(right: Placed, given: Placed) -> dict[str, float]:
    both = len(right & given)
    return {
        "precision": both / max(1, len(given)),
        "recall": both / max(1, len(right)),
        "f1": 2 * both / max(1, len(given) + len(right)),
    }


def score_tags(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of words whose tag is right, of tags that make up no entities, such as parts of speech."""
    pairs = [pair for rows in zip(predictions, references, strict=True) for pair in zip(*rows, strict=True)]
    return {"accuracy": sum(found == right for found, right in pairs) / max(1, len(pairs))}
