"""A suite of a set of every task: figures by hand, resumed, shared by ranks, and refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corekit import CorekitError
from corekit.data.loading.read_ahead import ReadAhead
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.suite.suite import Suite
from tests.evaluation.known import eval_model, on_ranks
from tests.evaluation.suite.on_disk import TABLE, Counting, npy, write_names, write_sets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_sets(tmp_path / "sets")
    return tmp_path / "sets"


def suite(root: Path, **arguments: object) -> Suite:
    return Suite(str(root / "table.csv"), str(root),
                 **{"batch_size": 3, **arguments})  # type: ignore[arg-type]


def keeping(store: Path, model: Counting | None = None, workers: int = 0) -> EvalModel:
    return replace(eval_model(model or Counting(), workers), store=store, fingerprint="weights")


def kept(store: Path) -> dict[str, bytes]:
    """The bytes of what a suite kept of its sets."""
    return {str(path.relative_to(store)): path.read_bytes()
            for path in sorted(store.rglob("*")) if path.parent.name in TABLE and path.is_file()}


def test_figures_are_those_by_hand(root: Path) -> None:
    model = Counting()
    result = suite(root)(eval_model(model))
    images = F.normalize(model.images, dim=-1)
    assert model.texts is not None
    texts = F.normalize(model.texts, dim=-1)
    of_templates = F.normalize((texts[:6] + texts[10:16]) / 2, dim=-1)
    best = (images @ of_templates.T).argmax(1).numpy()
    hit = best == np.arange(64) % 6
    assert result.metrics["plain"] == pytest.approx(hit[:12].mean())
    assert result.metrics["groups"] == pytest.approx(min(
        hit[:11][np.arange(11) % 3 == group].mean() for group in range(3)))
    of_two = (images @ texts[:2].T).argmax(1).numpy() == np.arange(64) % 2
    assert result.metrics["two"] == pytest.approx(
        (of_two[:10:2].mean() + of_two[1:10:2].mean()) / 2)
    selection = [bool((images[number] @ texts[number]) > max(
        images[number] @ texts[number + 5], images[number] @ texts[9])) for number in range(5)]
    assert result.metrics["right"] == pytest.approx(np.mean(selection))
    jaccard = []
    for number in range(4):
        pictures = np.arange(number, number + 5 + number % 2)
        chosen = set(np.argsort(-(images[pictures] @ texts[number + 3]).numpy())[:2].tolist())
        jaccard.append(len(chosen & {0, 2}) / len(chosen | {0, 2}))
    assert result.metrics["cues"] == pytest.approx(np.mean(jaccard))
    assert set(result.metrics) >= set(TABLE)


@pytest.mark.parametrize(("world", "workers"), [(2, 0), (4, 0), (1, 1), (1, 4)])
def test_ranks_and_workers_keep_the_same_bytes(root: Path, tmp_path: Path, world: int,
                                               workers: int) -> None:
    alone = suite(root)(keeping(tmp_path / "alone"))
    results = on_ranks(suite(root), keeping(tmp_path / "shared", workers=workers), world)
    assert kept(tmp_path / "shared") == kept(tmp_path / "alone")
    assert len(kept(tmp_path / "alone")) == 2 * len(TABLE)
    for result in results:
        assert (result.metrics, result.samples) == (alone.metrics, alone.samples)


def test_the_next_set_is_begun_while_one_is_read(root: Path, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[bool] = []
    take = ReadAhead.take

    def counted(self: ReadAhead, *args: Any) -> Any:
        processes = take(self, *args)
        begun.append(self.begun is not None)
        return processes

    monkeypatch.setattr(ReadAhead, "take", counted)
    suite(root)(keeping(tmp_path, workers=1))
    assert begun == [True] * (len(TABLE) - 1) + [False]


def test_each_sentence_goes_through_the_text_tower_once(root: Path) -> None:
    model = Counting()
    suite(root)(eval_model(model))
    assert len(model.sentences) == len(set(model.sentences)) > 12


def test_what_is_kept_costs_no_pass(root: Path, tmp_path: Path) -> None:
    first = suite(root)(keeping(tmp_path))
    model = Counting()
    again = suite(root)(keeping(tmp_path, model))
    assert model.seen == model.sentences == []
    assert (again.metrics, again.details) == (first.metrics, first.details)


def test_other_templates_redo_their_set_alone_and_see_no_picture(
        root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    suite(root)(keeping(tmp_path))
    before, model = kept(tmp_path), Counting()
    write_names(root / "plain_test", [str(number) for number in range(6)], ["{c}", "5{c}"])
    suite(root)(keeping(tmp_path, model))
    changed = {name.split("/")[0] for name, content in kept(tmp_path).items()
               if before[name] != content}
    assert changed == {"plain"}
    assert model.seen == []
    assert sorted(model.sentences) == [50, 51, 52, 53, 54, 55]
    assert "plain is evaluated anew: another templates" in caplog.text


@pytest.mark.parametrize("what", ["weights", "shard", "precision"])
def test_what_changed_is_evaluated_anew(root: Path, tmp_path: Path, what: str) -> None:
    suite(root)(keeping(tmp_path))
    model = Counting()
    other = keeping(tmp_path, model)
    if what == "weights":
        other = replace(other, fingerprint="others")
    elif what == "precision":
        other = replace(other, precision="bf16")
    else:  # the same bytes, written again
        shard = root / "plain_test" / "test" / "0.tar"
        shutil.copy(shard, tmp_path / "copy")
        (tmp_path / "copy").replace(shard)
    suite(root)(other)
    passes = 6 if what == "shard" else 26
    assert len(model.seen) >= passes
    assert what != "shard" or len(model.seen) == 12


class KilledError(Exception):
    pass


class Dying(Counting):
    """Ends with an error at one of its passes."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise KilledError
        return super().encode_image(image)


@pytest.mark.parametrize("at", [0, 5, 13, 21])
def test_a_suite_that_ended_goes_on_at_the_unfinished_set(root: Path, tmp_path: Path,
                                                          at: int) -> None:
    expected = suite(root)(keeping(tmp_path / "whole"))
    dying, model = Dying(at), Counting()
    with pytest.raises(KilledError):
        suite(root)(keeping(tmp_path / "killed", dying))
    done = len(kept(tmp_path / "killed")) // 2
    assert not list((tmp_path / "killed").rglob("*.writing"))
    again = suite(root)(keeping(tmp_path / "killed", model))
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")
    assert again.metrics == expected.metrics
    finished = {0: 0, 5: 1, 13: 3, 21: 6}[at]
    assert done == finished
    whole = Counting()
    suite(root)(eval_model(whole))
    assert len(whole.seen) - 3 * at <= len(model.seen) <= len(whole.seen) - 3 * at + 12
    assert sorted(dying.sentences + model.sentences) == sorted(whole.sentences)


def test_what_is_damaged_in_the_store_is_evaluated_anew(root: Path, tmp_path: Path) -> None:
    expected = suite(root)(keeping(tmp_path))
    before = kept(tmp_path)
    (tmp_path / "two" / "predictions.npz").write_bytes(b"PK")
    (tmp_path / "pairs" / "record.json").write_text("{")
    assert suite(root)(keeping(tmp_path)).metrics == expected.metrics
    assert kept(tmp_path) == before


def test_there_is_no_average_of_a_part(root: Path) -> None:
    result: Result = suite(root)(eval_model(Counting()))
    values = [result.metrics[key] for key in TABLE]
    assert result.metrics["average"] == pytest.approx(np.mean(values))
    assert result.metrics["average_all"] == pytest.approx(np.mean(values[:2]))
    some = suite(root, sets=["two", "pl*"])(eval_model(Counting()))
    assert set(some.metrics) == {"plain", "two", "average_all"}
    assert "2 of 8" in some.table


def damage(root: Path, what: str) -> None:
    names = [str(number) for number in range(6)]
    if what == "samples":
        (root / "plain_test" / "test" / "1.tar").unlink()
    elif what == "classes":
        write_names(root / "plain_test", names[:5], ["{c}"])
    elif what == "template":
        write_names(root / "plain_test", names, ["a photo"])
    elif what == "label":
        write_names(root / "two_test", names[:1], ["{c}"])
        table = (root / "table.csv").read_text().replace("recall,10,,2", "recall,10,,1")
        (root / "table.csv").write_text(table)
    elif what == "names":
        (root / "plain_test" / "classnames.txt").unlink()
    elif what == "captions":
        table = (root / "table.csv").read_text().replace("mean_r1,7,13", "mean_r1,7,11")
        (root / "table.csv").write_text(table)
    elif what == "none":
        for key in TABLE:
            shutil.rmtree(root / f"{key}_test")
    elif what == "row":
        from tests.evaluation.suite.on_disk import picture, write_shards

        write_shards(root / "several_test", [{"png": picture(number), "npy": npy([0, 1])}
                                             for number in range(9)])
    elif what == "counted":
        (root / "plain_test" / "test" / "nshards.txt").write_text("3\n")
    elif what == "truncated":
        shard = root / "plain_test" / "test" / "0.tar"
        shard.write_bytes(shard.read_bytes()[:700])


@pytest.mark.parametrize(("what", "sentence"), [
    ("samples", "'plain' .*has 6 samples, but its table says 12"),
    ("counted", "plain_test/test lacks 2.tar, which its nshards.txt counts"),
    ("truncated", "'plain' .*has 7 samples, but its table says 12"),
    ("classes", "has 5 names in classnames.txt, but its table says 6"),
    ("names", "has no classnames.txt"),
    ("template", "the template 'a photo' must have one {c}"),
    ("label", "two: a label is 1, but there are 1 class names"),
    ("captions", "'captions' has 13 captions, but its table says 11"),
    ("row", "several: 9 samples have not a 0 or 1 for each of 6 class names"),
    ("none", "holds none of the 8 sets.*'plain' would be a folder plain_test"),
])
def test_what_is_wrong_with_a_set_is_one_sentence(root: Path, what: str, sentence: str) -> None:
    damage(root, what)
    with pytest.raises(CorekitError, match=sentence) as error:
        suite(root)(eval_model(Counting()))
    assert "\n" not in str(error.value)


def test_sets_of_another_size_are_taken_where_they_are_not_checked(root: Path) -> None:
    damage(root, "samples")
    damage(root, "captions")
    result = suite(root, check=False)(eval_model(Counting()))
    assert set(result.metrics) > set(TABLE)


def test_classes_of_one_name_tie_and_the_first_counts(root: Path, tmp_path: Path) -> None:
    names = [str(number % 3) for number in range(6)]
    write_names(root / "plain_test", names, ["{c}", "1{c}"])
    suite(root, sets=["plain"])(keeping(tmp_path))
    with np.load(tmp_path / "plain" / "predictions.npz") as kept_of:
        assert kept_of["tied"].all()
        assert set(kept_of["best"][:, 0].tolist()) <= {0, 1, 2}
        assert (kept_of["best"][:, 1] == kept_of["best"][:, 0] + 3).all()


def test_sets_that_are_missing_are_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "cues_test")
    suite(root)
    assert "1 of 8 sets are not under" in caplog.text
    assert "cues" in caplog.text
    with pytest.raises(CorekitError, match="no evaluation set fits 'plian'.*mean 'plain'"):
        suite(root, sets=["plian"])


def test_a_record_says_all_that_decided_it(root: Path, tmp_path: Path) -> None:
    suite(root)(keeping(tmp_path))
    record = json.loads((tmp_path / "plain" / "record.json").read_text())
    assert set(record["hashes"]) == {"weights", "preprocess", "precision", "data", "names",
                                     "templates"}
    assert record["samples"] == 12
    result = suite(root)(keeping(tmp_path))
    assert result.details["hashes"]["plain"] == record["hashes"]  # type: ignore[index]
    assert set(record["figures"]["top1"]) >= {"value", "samples", "standard_error"}
