"""Runs functions: contexts, transactions, and the calls of one function from another.

A function, its checked arguments and a caller enter through `runtime.Runtime`. The function receives a ctx (`context`),
whose calls lead back here (`calls`). The checked result leaves, after the commit and its hooks (`commit_hooks`). A dry
run (`dry_run`) rolls back instead, and the changes that it has recorded leave.
"""

from flask_convex_http.runtime.auth import Auth as Auth
from flask_convex_http.runtime.auth import PendingAuth as PendingAuth
from flask_convex_http.runtime.caller import Caller as Caller
from flask_convex_http.runtime.calls import MutationCalls as MutationCalls
from flask_convex_http.runtime.calls import caller_of as caller_of
from flask_convex_http.runtime.calls import calls_of as calls_of
from flask_convex_http.runtime.calls import take_token as take_token
from flask_convex_http.runtime.context import ActionCtx as ActionCtx
from flask_convex_http.runtime.context import MutationCtx as MutationCtx
from flask_convex_http.runtime.context import QueryCtx as QueryCtx
from flask_convex_http.runtime.runtime import AppContext as AppContext
from flask_convex_http.runtime.runtime import Runtime as Runtime
from flask_convex_http.runtime.runtime import fresh_arguments as fresh_arguments
