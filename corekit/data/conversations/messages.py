"""Conversations about pictures: who says what, and where the pictures stand."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from corekit.data.datasets.base import BadSampleError

PICTURE = "<image>"  # in a user's message: the place of the next picture
PICTURE_TOKEN = -1  # in token ids: one of a picture's places, which is no word of any vocabulary

Role = Literal["system", "user", "assistant"]


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Role
    content: str


def in_order(messages: Sequence[Message], pictures: int) -> list[Message]:
    """A conversation that a chat template can take, without a last question that nobody answers.

    Contents lose the white space around them. Where no message says where the pictures are, they
    stand before the first question, each on a line of its own.

    Raises:
        BadSampleError: roles do not alternate, a message is empty, or there are not as many places
            as pictures.
    """
    stripped = [Message(each.role, each.content.strip()) for each in messages]
    has_system = bool(stripped) and stripped[0].role == "system"
    turns = stripped[1:] if has_system else stripped
    if not turns:
        raise BadSampleError("empty_conversation", "the conversation has no turns")
    for number, message in enumerate(turns):
        expected = "assistant" if number % 2 else "user"
        if message.role != expected:
            raise BadSampleError("roles", f"turn {number + 1} of the conversation is the "
                                 f"{message.role}'s, where the {expected}'s belongs")
        if not message.content:
            raise BadSampleError("empty_message", f"turn {number + 1} of the conversation, the "
                                 f"{expected}'s, is empty")
    return [*stripped[:has_system], *_with_places(turns, pictures)]


def _with_places(turns: list[Message], pictures: int) -> list[Message]:
    places = sum(turn.content.count(PICTURE) for turn in turns if turn.role == "user")
    if places == 0 and pictures:
        return [Message("user", f"{PICTURE}\n" * pictures + turns[0].content), *turns[1:]]
    if places != pictures:
        raise BadSampleError("pictures", f"the conversation has {places} places {PICTURE} and "
                             f"{pictures} pictures")
    return turns
