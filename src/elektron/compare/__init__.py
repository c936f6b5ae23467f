"""Variants of a pre-training at equal compute, judged by what they learn afterwards: `elektron compare`."""
