"""Operations on a whole deployment: check it, back it up, move it, look into its tables.

The parts of a backend enter: engine, blob store, files, settings. Reports leave, which the command line prints. An
operation works on any engine and any blob store, and in constant memory.
"""
