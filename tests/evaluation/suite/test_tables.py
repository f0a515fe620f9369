"""corekit's tables of evaluation sets hold what the papers and their files say."""

from importlib.resources import files

import pytest

from corekit import registry
from corekit.evaluation.suite.sets import read_table

TABLES = sorted(each.name.removesuffix(".csv") for each in
                files("corekit.evaluation.suite").joinpath("tables").iterdir()
                if each.name.endswith(".csv"))
METRICS = {
    "classification": {"top1", "mean_per_class_recall", "f1_macro", "worst_group_top1",
                       "worst_group_top5"},
    "retrieval": {"mean_r1"}, "selection": {"accuracy"}, "matching": {"group_accuracy"},
    "winogavil": {"jaccard_10_12"},
}


@pytest.mark.parametrize("table", TABLES)
def test_every_line_is_a_set_of_its_own(table: str) -> None:
    sets = read_table(table)
    for values in ([each.key for each in sets], [each.name for each in sets],
                   [folder for each in sets for folder in each.folders]):
        assert len(set(values)) == len(values) > 0
    for each in sets:
        assert each.task in registry.names("task")
        assert each.metric in METRICS[each.task]
        assert each.metric.startswith("worst_group") <= (each.group is not None)
        assert each.chance is None or 0 < each.chance < 1


def test_tables_share_what_they_say_of_a_set() -> None:
    seen: dict[str, object] = {}
    for table in TABLES:
        for each in read_table(table):
            said = each.name, each.folders, each.task, each.metric, each.samples, each.classes
            assert seen.setdefault(each.key, said) == said


def test_datacomp_has_its_38_sets() -> None:
    sets = read_table("datacomp")
    assert len(sets) == 38
    assert sum(each.samples or 0 for each in sets) == 697_369
    counts = {name: sum(name in each.averages for each in sets)
              for name in ("imagenet", "imagenet_shifts", "vtab", "retrieval")}
    assert counts == {"imagenet": 1, "imagenet_shifts": 6, "vtab": 13, "retrieval": 3}
    assert sum(each.metric == "mean_per_class_recall" for each in sets) == 4
    by_key = {each.key: each for each in sets}
    assert by_key["retrieval/mscoco_2014_5k_test_image_text_retrieval"].captions == 25_010
    assert [by_key[f"fairness/{name}"].folders[0] for name in ("geode", "dollar_street")] == [
        "wds_geode_test", "wds_dollar_street_test"]
    # the place among a sample's numbers: slide, region, income, region
    assert {key: each.group for key, each in by_key.items() if each.group is not None} == {
        "wilds/camelyon17": 1, "wilds/fmow": 0, "fairness/dollar_street": 0, "fairness/geode": 0}


def test_vtab_has_its_19_sets() -> None:
    sets = read_table("vtab")
    assert [sum(name in each.averages for each in sets) for name in (
        "natural", "specialized", "structured", "vtab")] == [7, 4, 8, 13]
    assert {each.key for each in sets if "vtab" in each.averages} == {
        each.key for each in read_table("datacomp") if "vtab" in each.averages}


def test_sugar_crepe_has_its_7511_choices() -> None:
    sets = [each for each in read_table("compositionality") if "sugar_crepe" in each.averages]
    assert (len(sets), sum(each.samples or 0 for each in sets)) == (7, 7511)
