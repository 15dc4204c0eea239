"""Malformed and unusual inputs: each is refused in one clear line, or comes out as the table says.

A table has a line for each input: what is edited in a sound file, and after => what is to come of it. That is a
part of the message, or `ok`, with what must hold of the result then. Whatever else happens, a traceback, a second
line, ten seconds without an answer, is a failure. `harness` has the language of the tables.
"""
