"""`elektron compare`: variants of a pre-training at equal compute, compared by fine-tuning on probe tasks."""
