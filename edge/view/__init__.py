"""Something to look at: results drawn beside the picture, in a window or in a file."""
