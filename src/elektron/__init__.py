"""Elektron trains ELECTRA encoders from your own text and puts them to work.

Five packages, each of which leaves a folder in a standard format for the next:
`corpus` (text to token blocks) → `models` and `pretraining` (blocks to a generator and a
discriminator) → `finetuning` → `inference`, with `reporting` (metrics and reports) beside them.

Importing this package pulls in nothing heavy; `import elektron.models` registers the
project's own encoder with the Auto classes of transformers.
"""

__version__ = "0.2.0"
