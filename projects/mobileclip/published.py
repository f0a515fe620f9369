"""The figures that Apple publishes of MobileCLIP and MobileCLIP2."""

from pathlib import Path

from corekit.registry import register


@register("reference", "mobileclip")
def mobileclip() -> Path:
    """The 14 models of ml-mobileclip's results/: 38 sets, SugarCrepe and long captions."""
    return Path(__file__).with_name("published.csv")
