"""Reports on pre-training runs, fine-tuned models and comparisons, as HTML pages, Markdown tables and model cards."""
