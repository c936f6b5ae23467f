"""Metrics of every task with their bootstrap intervals.

Each function takes true and predicted values and returns a `Measure` (`measure.py`), which computes the metrics over
all rows or over a resample. Every value is finite: a metric that is not defined, such as the precision of a class that
was never predicted, is 0. `reporting/formatting.py` has the titles and explanations of the metrics.
"""
