"""One module per class, each with one function that builds an object."""
