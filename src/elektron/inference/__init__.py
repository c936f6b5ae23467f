"""A fine-tuned model put to work: predictions, scores, answers with their source."""
