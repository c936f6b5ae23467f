"""How good predictions are: the figures of every task, and how sure they are.

A measure is made once from what is true and what was predicted, keeps statistics of each row, and is
called for its figures: of all rows, or of a resample. `measure.bootstrap` resamples any of them.

| Measure                      | Figures                                                     | Range     |
|------------------------------|-------------------------------------------------------------|-----------|
| `classification.Classes`     | accuracy, precision, recall, f1, f1_macro, f1_micro,        | 0 to 1    |
|                              | precision_macro, recall_macro                               |           |
|                              | mcc                                                         | −1 to 1   |
| `classification.LabelSets`   | accuracy, precision, recall, f1, f1_micro, f1_macro,        | 0 to 1    |
|                              | f1_samples                                                  |           |
| `regression.Numbers`         | pearson, spearman                                           | −1 to 1   |
|                              | mse, mae                                                    | 0 to ∞    |
| `tagging.Tags`               | accuracy, f1; precision and recall where tags mark entities | 0 to 1    |
| `squad.Answers`              | exact_match, f1, and both as has_answer_… and no_answer_…   | 0 to 100  |
| `text.Translations`          | bleu, chrf                                                  | 0 to 100  |
| `text.Summaries`             | rouge1, rouge2, rougeL, rougeLsum, bleu                     | 0 to 100  |
|                              | distinct_1, distinct_2, distinct_outputs                    | 0 to 1    |

Higher is better but for mse and mae. Percent stands where the measure's own papers print percent.
Every figure is finite: what is not defined, such as the precision of a class that was never
predicted, is 0.
"""
