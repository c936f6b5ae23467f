"""Fine-tuning: train a pretrained encoder on labelled data for a task, and measure how good it is."""
