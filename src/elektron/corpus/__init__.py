"""Turn text into the fixed-length rows of token ids that pre-training reads.

`documents` reads text from files and hub data sets, `vocabulary` trains tokenizers, `packing` arranges
token ids in rows, `blocks` stores the rows, and `prepare` does all of this in parallel with a given
tokenizer. `inspection` looks for faults in a corpus. `documentation` is a corpus of docstrings that
every installation already has.
"""
