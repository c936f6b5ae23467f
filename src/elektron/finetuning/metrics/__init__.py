"""Metrics of every task with their bootstrap intervals.

Each function takes true and predicted values and returns a `Measure` (`measure.py`), which computes
the metrics over all rows or over a resample.

| Function                       | Metrics                                                     | Range     |
|--------------------------------|-------------------------------------------------------------|-----------|
| `classification.single_label`  | accuracy, precision, recall, f1, f1_macro, f1_micro,        | 0 to 1    |
|                                | precision_macro, recall_macro                               |           |
|                                | mcc                                                         | −1 to 1   |
| `classification.multi_label`   | accuracy, precision, recall, f1, f1_micro, f1_macro,        | 0 to 1    |
|                                | f1_samples                                                  |           |
| `regression.regression`        | pearson, spearman                                           | −1 to 1   |
|                                | mse, mae                                                    | 0 to ∞    |
| `tagging.tagging`              | accuracy, f1; precision and recall if tags mark entities    | 0 to 1    |
| `squad.squad`                  | exact_match, f1, and both as has_answer_… and no_answer_…   | 0 to 100  |
| `text.translation`             | bleu, chrf                                                  | 0 to 100  |
| `text.summarization`           | rouge1, rouge2, rougeL, rougeLsum, bleu                     | 0 to 100  |
|                                | distinct_1, distinct_2, distinct_outputs                    | 0 to 1    |
| `embedding.similarity`         | spearman, pearson                                           | −1 to 1   |
| `embedding.retrieval`          | mrr, recall@1, recall@10                                    | 0 to 1    |

Higher is better except for mse and mae. The range 0 to 100 is that of the metric's own papers.
Every value is finite: a metric that is not defined, such as the precision of a class that was never
predicted, is 0. `reporting/formatting.py` has the titles and explanations of the metrics.
"""
