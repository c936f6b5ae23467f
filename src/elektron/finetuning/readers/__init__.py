"""Read files of many formats into records for any task.

`read.py` is the entry point: it detects the format of a source, reads it as a table of rows with named columns, and
makes records from the rows. `guess_columns.py` decides which column has which role, such as `label`. `values.py`
parses fields into values.
"""
