"""Labelled files as records, from whatever format and for whatever task, in four steps.

`sources.py`: the format of a source, as a table of rows with named columns. `guess_columns.py`: which column
has which role, such as the label's. `values.py`: from a field to a value. `read.py`: the records.
"""
