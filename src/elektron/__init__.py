"""Elektron pre-trains ELECTRA encoders on your own text, fine-tunes them and runs them.

Each of the main packages writes a folder in a standard format that the next one reads: `corpus` (text to blocks of
token ids) → `pretraining` with the networks of `models` (blocks to a generator and a discriminator) → `finetuning` →
`inference`. `reporting` reads the metrics and writes reports.

Importing this package imports no large dependency; `import elektron.models` registers model type `elektron` with the
Auto classes of transformers.
"""

__version__ = "0.2.0"
