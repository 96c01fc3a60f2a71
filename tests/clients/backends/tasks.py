"""The backend of a task list: tasks with a state, a time and tags, and statistics of them."""

from __future__ import annotations

import datetime
from typing import Any, Literal, NotRequired, TypedDict

import msgspec

from flask_convex_http import ConvexError, Document, Id, MutationCtx, QueryCtx, mutation, query

State = Literal["todo", "in_progress", "done"]


class Task(Document, table="tasks", indexes={"by_state": ["state", "due_at"]}):
    """Something to do."""

    title: str
    state: State = "todo"
    due_at: datetime.datetime | None = None
    tag_names: list[str] = []
    estimated_hours: float = 0.0


class Changes(TypedDict):
    """What changes in a task. Fields that are left out stay."""

    title: NotRequired[str]
    state: NotRequired[State]
    due_at: NotRequired[datetime.datetime | None]


class Statistics(msgspec.Struct):
    """Sums over all tasks."""

    task_count: int
    total_hours: float
    count_by_state: dict[State, int]
    next_due: tuple[Id[Task], datetime.datetime] | None


@query
def list_tasks(ctx: QueryCtx, *, state: State | None = None, limit: int = 100) -> list[Task]:
    """Return the tasks, of one state or of all."""
    found = ctx.db.query(Task)
    return (found if state is None else found.with_index("by_state", state=state)).take(limit)


@query
def get(ctx: QueryCtx, *, task_id: Id[Task]) -> Task | None:
    """Return a task, or null."""
    return ctx.db.get(task_id)


@mutation
def create(
    ctx: MutationCtx,
    *,
    title: str,
    due_at: datetime.datetime | None = None,
    tag_names: list[str] = [],  # noqa: B006  # each call gets a copy
    estimated_hours: float = 0.0,
) -> Id[Task]:
    """Create a task."""
    return ctx.db.insert(Task(title=title, due_at=due_at, tag_names=tag_names, estimated_hours=estimated_hours))


@mutation
def update(ctx: MutationCtx, *, task_id: Id[Task], changes: Changes) -> Task:
    """Change a task and return it."""
    if ctx.db.get(task_id) is None:
        raise ConvexError({"code": "not_found", "task_id": task_id})
    ctx.db.patch(task_id, **changes)
    changed = ctx.db.get(task_id)
    assert changed is not None
    return changed


@mutation
def remove(ctx: MutationCtx, *, task_id: Id[Task]) -> None:
    """Delete a task."""
    ctx.db.delete(task_id)


@query
def statistics(ctx: QueryCtx) -> Statistics:
    """Return sums over all tasks."""
    tasks = ctx.db.query(Task).collect()
    counts: dict[State, int] = {}
    for task in tasks:
        counts[task.state] = counts.get(task.state, 0) + 1
    due = sorted((task.due_at, task.id) for task in tasks if task.due_at is not None)
    return Statistics(
        len(tasks), sum(task.estimated_hours for task in tasks), counts, (due[0][1], due[0][0]) if due else None
    )


@query
def echo(ctx: QueryCtx, *, value: Any) -> Any:
    """Return a value of any type."""
    return value
