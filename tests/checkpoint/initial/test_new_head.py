"""A head for other classes: its rows made from the file's, the report of them, and what is
refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from corekit.checkpoint.initial.init_from import start_from
from corekit.checkpoint.initial.new_head import Match, NewHead
from corekit.errors import CorekitError
from corekit.recipes.compose import compose

OLD = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]])
BIAS = torch.tensor([-6.0, -4.0, -8.0])
MATCHES = [
    Match("second", (1, ), "name", 1.0, "two"),
    Match("none"),
    Match("both ends", (0, 2), "words", 0.5, "one, three")
]


class Model(nn.Module):
    def __init__(self, classes: int, width: int = 2) -> None:
        super().__init__()
        self.trunk, self.head = nn.Linear(2, width), nn.Linear(width, classes)


def matcher(names: Sequence[str], rows: int, trained_as: Mapping[str, Any]) -> list[Match]:
    assert (list(names), rows) == (["a", "b", "c"], 3)
    return MATCHES


@pytest.fixture
def file(tmp_path: Path) -> str:
    save_file({**Model(3).state_dict(), "head.weight": OLD, "head.bias": BIAS},
              tmp_path / "old.safetensors")
    return str(tmp_path / "old.safetensors")


def test_rows_are_copied_averaged_or_left_random(file: str) -> None:
    model = Model(3)
    random = model.head.weight[1].clone()
    new_head = NewHead(matcher, ["a", "b", "c"])
    start_from(model, file, [], {}, new_head)
    assert model.head.weight.tolist() == [[3.0, 4.0], random.tolist(), [3.0, 5.0]]
    assert model.head.bias.tolist() == [-4.0, -5.5,
                                        -7.0], "the random one has the mean of the others"
    assert new_head.report().splitlines() == [
        "class\tname\thow\tsimilarity\trows\tfrom", "0\tsecond\tname\t1.000\t1\ttwo",
        "1\tnone\trandom\t\t\t", "2\tboth "
        "ends\twords\t0.500\t0,2\tone, three"
    ]
    assert new_head.summary() == ("rows of the head for 3 classes: 1 by name, 1 random, 1 by words "
                                  "(1 exact); "
                                  "head.tsv has each")


def test_a_random_head_leaves_the_rest(file: str) -> None:
    model = Model(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_from(model, file, [], {}, NewHead(None, []))
    after = model.state_dict()
    assert [name for name in after
            if torch.equal(before[name], after[name])] == ["head.weight", "head.bias"]


def test_what_does_not_fit_is_refused_and_nothing_is_changed(file: str) -> None:
    for model, new_head, path, sentence in ((Model(4), NewHead(matcher, ["a", "b", "c"]), file,
                                             "3 names of classes, but the "
                                             "model's head has 4 rows"),
                                            (Model(3, width=7), NewHead(matcher, ["a", "b", "c"]),
                                             file, r"head.weight is \[3, 2\] "
                                             r"there and \[3, 7\] here"),
                                            (nn.Linear(2, 2), NewHead(None, []), file,
                                             "but the model has none: leave init.head out"),
                                            (Model(3), NewHead(None, []), None,
                                             "give the weights that have it, init.path=RUN")):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(CorekitError, match=sentence):
            start_from(model, path, [], {}, new_head)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_command_line_is_checked(tmp_path: Path) -> None:
    words = ["model={name: clip_vit_b16}", "loss={name: cross_entropy}"]
    assert compose(*words, "init.head=random").init.head == "random"
    config = compose(*words, "init.head=synsets", "init.head_arguments.similarity=0.5")
    assert config.init.head_arguments == {"similarity": 0.5}
    for word, sentence in (("init.head=synset", "did you mean 'synsets'"),
                           ("init.head_arguments.similar=1", "'similar' is not")):
        with pytest.raises(CorekitError, match=sentence):
            compose(*words, "init.head=synsets", word)
