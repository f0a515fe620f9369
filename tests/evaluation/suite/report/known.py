"""Records of sets whose figures are known."""

from collections.abc import Mapping

from corekit.evaluation.figure import Figure
from corekit.evaluation.suite.report.results import Results
from corekit.evaluation.suite.sets import EvalSet
from corekit.evaluation.suite.store import SetRecord

SETS = [
    EvalSet("easy/a", "Set A", ("wds_easy-a_test",), "classification", "top1", 400, classes=10,
            chance=0.1, averages=("easy",)),
    EvalSet("easy/b", "Set B", ("wds_b",), "classification", "top1", 100, averages=("easy",)),
    EvalSet("c", "Set C", ("wds_c",), "retrieval", "mean_r1", 50),
]


def record(each: EvalSet, value: float, error: float | None = 0.01,
           **more: Figure) -> SetRecord:
    figure = Figure(value, each.samples or 0, error)
    return SetRecord(each.key, each.name, each.task, each.metric, {each.metric: figure, **more},
                     each.samples or 0)


def results(name: str, values: Mapping[int, float], error: float | None = 0.01) -> Results:
    """Values of some of SETS by number."""
    records = [record(SETS[number], value, error) for number, value in values.items()]
    return Results(name, {each.key: each for each in records})
