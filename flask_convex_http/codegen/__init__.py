"""Typed clients: modules in TypeScript and Python that are written from the functions of an app.

`api` reads the annotations of the public functions. `typescript` and `python` write them in a language. No
other part of the package imports this folder, except for `flask convex codegen`.
"""
