"""From pictures to the image store, and from the store to its mean and its colour axes."""
