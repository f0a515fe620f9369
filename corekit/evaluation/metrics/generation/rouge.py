"""ROUGE-L of captions: their longest common subsequences with references (Lin 2004)."""

from collections.abc import Sequence

RECALL_WEIGHT = 1.2  # of recall beside precision, as for COCO's captions


def rouge_l(caption: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The F-measure of the best precision and the best recall over references, of words."""
    common = [common_words(caption, reference) for reference in references]
    precision = max(common) / max(1, len(caption))
    recall = max(shared / max(1, len(each)) for shared, each in zip(common, references))
    if not precision or not recall:
        return 0.0
    weight = RECALL_WEIGHT**2
    return (1 + weight) * precision * recall / (recall + weight * precision)


def common_words(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if word == other else max(above[place + 1], row[-1]))
        above = row
    return above[-1]
