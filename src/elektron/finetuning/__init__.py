"""A pretrained model and labelled data in, a task model out."""
