"""Scheduled functions and crons, as rows: what is due, when, and how an attempt ended.

Functions enter with arguments and a time, through `ctx.scheduler` or `Crons`. Jobs leave to a `worker`.
"""
