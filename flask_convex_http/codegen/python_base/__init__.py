"""The part of a generated Python client that is the same for every app.

`flask convex codegen` copies these modules into the file that it writes, one after another. They need nothing but the
standard library of Python 3.10, use `requests` where that is installed, and import nothing else of this package. All
names of the five modules differ, private ones too.
"""
