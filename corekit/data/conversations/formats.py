"""Conversations as data sets write them in JSON: LLaVA's ``conversations``, FineVision's ``texts``.
"""

from collections.abc import Iterable, Sequence

from corekit.data.conversations.messages import PICTURE, Message, Role
from corekit.data.datasets.base import BadSampleError

ROLES: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant",
                          "assistant": "assistant", "system": "system"}
NAMES = {"user": "human", "assistant": "gpt", "system": "system"}  # in LLaVA's form


def read_messages(notes: object) -> list[Message]:
    """The messages of an item, or of its list of turns alone.

    LLaVA's turns have ``from`` (human, gpt, system; user and assistant are taken too) and
    ``value``; FineVision's have ``user`` and ``assistant``, and may have ``system``. As LLaVA does,
    a place of a picture that stands alone in its question is moved before it, onto a line of its
    own, and an answer before the first question is left out.

    Raises:
        BadSampleError: ``conversation``: of another form; ``roles``: of a role that nobody knows;
            ``empty_conversation``; ``encoding``: halves of characters.
    """
    turns = notes
    if isinstance(notes, dict):
        turns = notes["conversations"] if "conversations" in notes else notes.get("texts")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadSampleError("conversation", "it has no list of turns, as `conversations` or "
                             "`texts`")
    messages = [message for turn in turns for message in _of_turn(turn)]
    has_system = bool(messages) and messages[0].role == "system"
    if messages[has_system:] and messages[has_system].role == "assistant":
        del messages[has_system]
    if len(messages) == has_system:
        raise BadSampleError("empty_conversation", "the conversation has no turns")
    return messages


def _of_turn(turn: dict[str, object]) -> Iterable[Message]:
    if "from" in turn or "value" in turn:
        role = ROLES.get(str(turn.get("from")))
        if role is None:
            raise BadSampleError("roles", f"a turn is from {turn.get('from')!r}, which is none of "
                                 f"{', '.join(ROLES)}")
        yield _message(role, turn.get("value"))
        return
    roles: tuple[Role, ...] = ("system", "user", "assistant")
    present = [role for role in roles if turn.get(role) not in (None, "")]
    if not {"user", "assistant"} & turn.keys():
        raise BadSampleError("conversation", f"a turn has {', '.join(turn) or 'nothing'}: neither "
                             "`from` and `value`, nor `user` and `assistant`")
    for role in present:
        yield _message(role, turn[role])


def _message(role: Role, content: object) -> Message:
    if not isinstance(content, str):
        raise BadSampleError("conversation", f"what the {role} says is no text")
    if not content.isascii():
        try:
            content.encode()
        except UnicodeEncodeError:
            raise BadSampleError("encoding", f"what the {role} says holds half a character"
                                 ) from None
    if role == "user" and content.count(PICTURE) == 1:
        content = f"{PICTURE}\n{content.replace(PICTURE, '').strip()}".strip()
    return Message(role, content)


def as_notes(messages: Sequence[Message]) -> dict[str, object]:
    """An item in LLaVA's form."""
    return {"conversations": [{"from": NAMES[role], "value": content}
                              for role, content in messages]}
