"""The backend of a chat: channels, and messages that are read in pages and sent by users."""

from __future__ import annotations

import msgspec

from flask_convex_http import (
    ActionCtx,
    ConvexError,
    Document,
    Id,
    MutationCtx,
    Page,
    QueryCtx,
    action,
    internal_mutation,
    mutation,
    query,
    unique,
)


class User(Document, table="users", indexes={"by_token": unique("token_identifier")}):
    """A person who has signed in."""

    token_identifier: str
    display_name: str


class Channel(Document, table="channels", indexes={"by_name": unique("name")}):
    """A place for messages."""

    name: str


class Text(msgspec.Struct, tag="text"):
    """A written text."""

    body: str


class Image(msgspec.Struct, tag="image"):
    """An image that is shown."""

    image_url: str
    alt_text: str | None = None


class Message(Document, table="messages", indexes={"by_channel": ["channel_id"], "by_author": ["author_id"]}):
    """A message in a channel."""

    channel_id: Id[Channel]
    author_id: Id[User] | None
    author_name: str
    content: Text | Image
    like_count: int = 0


@query
def list_channels(ctx: QueryCtx) -> list[Channel]:
    """Return all channels by name."""
    return ctx.db.query(Channel).with_index("by_name").collect()


@mutation
def create_channel(ctx: MutationCtx, *, name: str) -> Id[Channel]:
    """Create a channel.

    Raises:
        ConvexError: The name is empty or taken.
    """
    if not name.strip():
        raise ConvexError({"code": "empty_name", "fields": ["name"]})
    if ctx.db.query(Channel).with_index("by_name", name=name).unique() is not None:
        raise ConvexError("There is a channel of this name")
    return ctx.db.insert(Channel(name=name))


@query
def list_messages(
    ctx: QueryCtx, *, channel_id: Id[Channel], num_items: int = 20, cursor: str | None = None
) -> Page[Message]:
    """Return the messages of a channel, newest first."""
    found = ctx.db.query(Message).with_index("by_channel", channel_id=channel_id)
    return found.order("desc").paginate(num_items=num_items, cursor=cursor)


@mutation
def send(ctx: MutationCtx, *, channel_id: Id[Channel], content: Text | Image) -> Id[Message]:
    """Send a message as the user who is signed in."""
    user = _current_user(ctx)
    return ctx.db.insert(
        Message(channel_id=channel_id, author_id=user.id, author_name=user.display_name, content=content)
    )


@mutation
def like(ctx: MutationCtx, *, message_id: Id[Message], times: int = 1) -> int:
    """Like a message, and return its likes."""
    message = ctx.db.get(message_id)
    if message is None:
        raise ConvexError({"code": "not_found"})
    ctx.db.patch(message_id, like_count=message.like_count + times)
    return message.like_count + times


@mutation
def sign_in(ctx: MutationCtx) -> Id[User]:
    """Store the user of the token, if it is a new one."""
    identity = ctx.auth.get_user_identity()
    if identity is None:
        raise ConvexError({"code": "unauthenticated"})
    known = ctx.db.query(User).with_index("by_token", token_identifier=identity.token_identifier).unique()
    if known is not None:
        return known.id
    return ctx.db.insert(User(token_identifier=identity.token_identifier, display_name=identity.name or "Somebody"))


@query
def current_user(ctx: QueryCtx) -> User | None:
    """Return the user of the token, or null."""
    identity = ctx.auth.get_user_identity()
    if identity is None:
        return None
    return ctx.db.query(User).with_index("by_token", token_identifier=identity.token_identifier).unique()


@internal_mutation
def announce(ctx: MutationCtx, *, channel_id: Id[Channel], body: str) -> Id[Message]:
    """Send a message as the operator."""
    return ctx.db.insert(
        Message(channel_id=channel_id, author_id=None, author_name="Operator", content=Text(body=body))
    )


@action
def announce_everywhere(ctx: ActionCtx, *, body: str) -> int:
    """Send a message to all channels, and return their number."""
    channels = ctx.run_query(list_channels)
    for channel in channels:
        ctx.run_mutation(announce, channel_id=channel.id, body=body)
    return len(channels)


def _current_user(ctx: MutationCtx) -> User:
    identity = ctx.auth.get_user_identity()
    token = "" if identity is None else identity.token_identifier
    user = ctx.db.query(User).with_index("by_token", token_identifier=token).unique()
    if user is None:
        raise ConvexError({"code": "unauthenticated"})
    return user
