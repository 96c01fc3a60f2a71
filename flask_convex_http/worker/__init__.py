"""Runs due jobs: threads that claim jobs, run them, and record how they ended.

Jobs of `scheduling` enter. Calls of `runtime` leave.
"""
