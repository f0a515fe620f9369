"""Samples that a data set leaves out are counted, and are no damage; heads are as wide as the data
set has classes.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from corekit.checkpoint.training_state import Counters
from corekit.data.datasets.base import LEFT_OUT
from corekit.errors import CorekitError
from corekit.recipes.build import run_config
from corekit.train.run import closing
from corekit.train.trainer import FEW, _count_bad
from corekit.train.verify import _check_classes


def test_only_damage_counts_against_the_allowed_share(tmp_path: Any) -> None:
    run: Any = SimpleNamespace(ranks=SimpleNamespace(world=1),
                               config=run_config({"model": {"name": "m"}}))
    counters = Counters(step=1, samples=FEW)
    assert _count_bad({LEFT_OUT: FEW // 2, "image": 10}, counters, run) == {}
    assert counters.bad == {LEFT_OUT: FEW // 2, "image": 10}, "10 of 10,000 are allowed"
    summary = closing("m", counters, tmp_path, 1, 0.0)
    assert "bad samples: image 10\n" in summary
    assert f"replaced by others: {FEW // 2}\n" in summary
    with pytest.raises(CorekitError, match=r"^11 of 10000 samples were bad \(image 11\)"):
        _count_bad({"image": 1}, counters, run)


@pytest.mark.parametrize("width", [6, 8])
def test_a_vocabulary_that_does_not_match_the_head_is_refused(width: int) -> None:
    recipe = {"data": {"dataset": {"name": "mined_labels"}}, "model": {"name": "vit"}}
    config = run_config(recipe)
    source: Any = SimpleNamespace(num_classes=7)
    for logits in (torch.zeros(2, width, device="meta"), SimpleNamespace(classes=width)):
        with pytest.raises(CorekitError, match=f"7 classes, but the head of model `vit` has "
                                               f"{width}: set model.num_classes=7"):
            _check_classes(config, source, logits)
    inside = run_config({
        **recipe, "model": {"name": "around", "model": {"name": "vit", "num_classes": width}}
    })
    with pytest.raises(CorekitError, match=r"head of model `vit` has .*: set "
                                           r"model\.model\.num_classes=7"):
        _check_classes(inside, source, torch.zeros(2, width))
    for classes, logits in ((7, torch.zeros(2, 7)), (None, torch.zeros(2, 8)), (7, None)):
        _check_classes(config, SimpleNamespace(num_classes=classes),
                       logits)  # type: ignore[arg-type]
