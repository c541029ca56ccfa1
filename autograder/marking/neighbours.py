"""Like answers beside each other, so that they are marked together and alike."""

from collections.abc import Sequence
from typing import Any

__all__ = ["like_together", "word_table"]

MOST_WORDS = 20_000


def like_together(texts: Sequence[str]) -> list[list[int]]:
    """Sort answers into groups of like ones: TF-IDF (see ``word_table``), then k-means.

    Args:
        texts: The answers; the same texts give the same groups.

    Returns:
        Groups of positions, the largest first; in a group each answer is followed by its nearest neighbour that is left. Empty answers
        are the last group.
    """
    written = [number for number, text in enumerate(texts) if text.strip()]
    empty = [number for number, text in enumerate(texts) if not text.strip()]
    groups = _clusters([texts[number] for number in written]) if written else []
    return [*([written[place] for place in group] for group in groups), *([empty] if empty else [])]


def word_table(texts: Sequence[str]) -> Any:
    """TF-IDF of words and pairs of words: a sparse table, a row of length 1 for each text; None where no text has a word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=MOST_WORDS).fit_transform(texts)
    except ValueError:
        return None


def _clusters(texts: Sequence[str]) -> list[list[int]]:
    import numpy as np
    from sklearn.cluster import KMeans

    words = word_table(texts)
    if words is None:
        return [list(range(len(texts)))]
    table = words.toarray()
    distinct = len(np.unique(table, axis=0))
    count = min(max(1, round(len(texts) ** 0.5)), distinct)
    means = KMeans(n_clusters=count, n_init=4, random_state=0).fit(table)
    groups = []
    for label in range(count):
        members = np.flatnonzero(means.labels_ == label)
        groups.append(_chain(table[members], members, means.cluster_centers_[label]))
    return sorted(groups, key=lambda group: (-len(group), group))


def _chain(rows: "object", members: "object", centre: "object") -> list[int]:
    """The members of a group from the most typical one on, each followed by its nearest neighbour (rows have length 1)."""
    import numpy as np

    rows, members = np.asarray(rows), np.asarray(members)
    left = list(range(len(members)))
    order = [left.pop(int(np.argmax(rows @ np.asarray(centre))))]
    while left:
        order.append(left.pop(int(np.argmax(rows[left] @ rows[order[-1]]))))
    return [int(members[place]) for place in order]
