"""The versions that decide which nouns are found in captions, beside our own code."""

import importlib.metadata
import logging
from functools import lru_cache

WORDNET = "3.0"


def versions() -> dict[str, str]:
    """Those of NLTK, whose lemma rules and treatment of quotes change, and of WordNet."""
    return {"nltk": importlib.metadata.version("nltk"), "wordnet": WORDNET}


@lru_cache
def warn_of_other_nltk(what: str, made_with: str | None) -> None:
    """Warn once where another NLTK is here than made something; None: that is not known."""
    try:
        here = versions()["nltk"]
    except importlib.metadata.PackageNotFoundError:
        return
    if made_with is not None and made_with != here:
        logging.getLogger("corekit").warning(
            f"{what} was made with NLTK {made_with}, and {here} is here: some captions (0.4 % "
            "between 3.9.1 and 3.10.4) get other labels. Make it anew, or install "
            f"nltk=={made_with}")
