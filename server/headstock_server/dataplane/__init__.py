"""What a request means, whatever transport brought it: validate, preprocess, enqueue, postprocess."""
