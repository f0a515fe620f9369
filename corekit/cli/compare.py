"""``corekit compare``: two models set by set, with a test of each difference."""

import argparse

from corekit.errors import CorekitError


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to ``corekit``."""
    compare = commands.add_parser(
        "compare", help="two models on the sets of a suite, with a test of each difference",
        description="Compare what two models reach on the sets that both were evaluated on: the "
                    "difference B - A, its 95 % interval, and a test. It is paired where both "
                    "models' predictions are kept, and unpaired of published figures.")
    place = ("a run or model folder that a suite was evaluated on; a published row such as "
             "mobileclip/mobileclip_s0; or a file of figures: DataComp's eval_results.jsonl, "
             "CLIP_benchmark's JSON, open_clip's CSV")
    compare.add_argument("first", metavar="A", help=place)
    compare.add_argument("second", metavar="B", help="the same")
    compare.add_argument("--table", default="datacomp", metavar="TABLE",
                         help="the sets whose average is compared; datacomp without it")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from corekit.evaluation.suite.report.compare import comparison_table
    from corekit.evaluation.suite.report.published import find_results
    from corekit.evaluation.suite.sets import known_sets, read_table

    table = read_table(options.table)
    models = []
    for word in (options.first, options.second):
        matching = find_results(word, [*table, *known_sets()])
        if len(matching) > 1:
            names = ", ".join(each.name for each in matching[:5])
            raise CorekitError(f"'{word}' means {len(matching)} models ({names}, ...): name one, "
                               f"as in {word.partition('/')[0]}/'{matching[0].name}'")
        models += matching
    print(comparison_table(table, models[0], models[1]))
