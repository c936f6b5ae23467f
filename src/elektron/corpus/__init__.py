"""From text to the rows that pre-training reads.

`documents` reads text wherever it lies, `vocabulary` trains a tokenizer on it, `packing` arranges
token ids in rows of one length, `blocks` stores the rows, `prepare` is the parallel job over all
of these, and `inspection` looks for faults before and after. `documentation` is the corpus that
every installation already has.
"""
