"""Labels from captions on one core, against CoreNet's order of operations, in one run.

    python tools/benchmark_labels.py

CoreNet's order, written out here with NLTK's own functions: clean the caption, cut it into tokens,
tag their parts of speech (and look at no tag), lemmatise each, look its first noun sense up, and
look its key up in a Python list of 24,320 keys, first by `in`, then by `.index`. The list holds the
synsets of the captions first, as a list sorted by count would, then others of WordNet. Captions are
those of OpenMoji scenes that are never painted.

Rounds take turns, and the medians are printed. Both sides label the same captions, new ones each
round, and must agree on the rows. Time is this process's on its core, not the clock's. Ours
remembers words, so its first round, which begins with none, is printed too; NLTK remembers synsets.
"""

import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence

import nltk
import timing
from corekit_projects.catlip.labels import NounLabels, clean
from corekit_projects.catlip.vocabulary import Vocabulary, choose
from corekit_projects.catlip.wordnet import key_of, open_tagger, open_wordnet
from nltk.corpus.reader.wordnet import WordNetError

from corekit.data.datasets.openmoji.caption import describe_scene
from corekit.data.datasets.openmoji.concepts import concept_emoji, concept_names, plural
from corekit.data.datasets.openmoji.scene import draw_scene

SIZE = 24_320


def main() -> None:
    parser = timing.parser(__doc__, rounds=7)
    parser.add_argument("--captions", type=int, default=2000, help="a round of ours")
    parser.add_argument("--corenet-captions", type=int, default=100,
                        help="of these, a round of CoreNet's")
    args = parser.parse_args()
    captions = scene_captions(args.captions * args.rounds)
    vocabulary = of_size(captions)
    keys = list(vocabulary.counts)
    open_tagger()
    corenet_rows(captions[-1], keys)  # what is loaded at first use
    labels = NounLabels()
    few = args.corenet_captions
    rounds = [captions[first:first + args.captions]
              for first in range(0, len(captions), args.captions)]
    ours: list[list[list[int]]] = []
    theirs: list[list[list[int]]] = []
    times = timing.take_turns({
        "theirs": timed(lambda text: corenet_rows(text, keys), [some[:few] for some in rounds],
                        theirs),
        "ours": timed(lambda text: vocabulary.rows(labels(text)).tolist(), rounds, ours)},
        args.rounds)
    if [rows[:few] for rows in ours] != theirs:
        raise SystemExit("the two sides do not give the same rows")
    ours_time, theirs_time = times.median("ours"), times.median("theirs")
    print(f"{len(captions):,} captions such as {captions[0]!r}, "
          f"{statistics.mean(map(len, itertools.chain(*ours))):.1f} labels each; "
          f"a vocabulary of {len(vocabulary):,}")
    print(f"  corekit                    {1 / ours_time:>10,.0f} captions/s (first round "
          f"{1 / times['ours'][0]:,.0f})")
    print(f"  CoreNet's order            {1 / theirs_time:>10,.0f} captions/s")
    print(f"  ratio of the medians       {theirs_time / ours_time:>10.0f} x; rows the same in all "
          f"{args.corenet_captions * args.rounds:,} compared")


def timed(label: Callable[[str], list[int]], rounds: list[list[str]],
          rows: list[list[list[int]]]) -> Callable[[], float]:
    """Labels the next round at each call: seconds of a caption, of this process on its core."""
    remaining = iter(rounds)

    def next_round() -> float:
        captions = next(remaining)
        return timing.seconds_of(lambda: rows.append([label(caption) for caption in captions]),
                                 clock=time.process_time) / len(captions)

    return next_round


def corenet_rows(caption: str, keys: list[str]) -> list[int]:
    """Rows of one caption, in CoreNet's order of operations."""
    # one sentence; where sentences end takes punkt more time
    tokens = nltk.word_tokenize(clean(caption), preserve_line=True)
    rows = set()
    for word, _ in open_tagger().tag(tokens):
        lemma = open_wordnet().lemma_of(word)  # what NLTK's WordNetLemmatizer does
        try:
            synset = open_wordnet().synset(f"{lemma}.n.01")
        except WordNetError:
            continue
        if synset.name() == f"{lemma}.n.01":
            key = key_of(synset)
            if key in keys:
                rows.add(keys.index(key))
    return sorted(rows)


def of_size(captions: Sequence[str]) -> Vocabulary:
    """The captions' own synsets, by count, then others."""
    labels = NounLabels()
    named = Counter(key for caption in captions for key in labels(caption))
    counts = dict(choose(named, threshold=0, size=SIZE).counts)
    for key in sorted(open_wordnet().called):
        if len(counts) == SIZE:
            break
        counts.setdefault(key, 0)
    return Vocabulary(counts)


def scene_captions(count: int) -> list[str]:
    draws = random.Random(0)
    names, emoji = concept_names(), concept_emoji()
    repeatable = [plural(name) is not None for name in names]
    return [describe_scene(draws, draw_scene(draws, 256, (1, 3), emoji, repeatable), names, 0.25)
            for _ in range(count)]


if __name__ == "__main__":
    main()
