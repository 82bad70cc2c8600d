"""Which pictures are held out from training?  By a draw of each one's content, or of its photo or group.

The draw is the group's alone, so a picture keeps its side as the collection grows, and equal files are on one side.
Where chance leaves fewer than two groups on one side, the two with the lowest draws are held out, or the two with the
highest trained on; of three groups or two, one is held out. Of a single group, the last pictures are held out.
"""

import numpy as np
import numpy.typing as npt

FEWEST = 2  # groups on each side


def divide(draws: npt.NDArray[np.float64], share: float) -> tuple[npt.NDArray[np.bool_], str]:
    """(N,) whether each picture is held out, and a word on it where it is not just by the share."""
    groups = np.unique(draws)
    if len(groups) == 1:
        number = min(max(1, round(share * len(draws))), len(draws) - 1)
        return np.arange(len(draws)) >= len(draws) - number, "all are of one group, and the last of them are held out"
    fewest = min(FEWEST, len(groups) // 2)
    bound, how = share, ""
    if (groups < bound).sum() < fewest:
        bound, how = float(groups[fewest]), f"of so few groups, the {fewest} with the lowest draws"
    elif (groups >= bound).sum() < fewest:
        bound, how = float(groups[-fewest]), f"of so few groups, all but the {fewest} with the highest draws"
    return draws < bound, how
