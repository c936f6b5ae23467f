"""Labelled files as records, from whatever format and for whatever task.

`read.py` is the entry: it finds the format of a source, as a table of rows with named columns, and makes the
records. `guess_columns.py`: which column has which role, such as the label's. `values.py`: from a field to a value.
"""
