"""Where exemplars live: labelled prompts, their embeddings, and each earlier version of them."""
