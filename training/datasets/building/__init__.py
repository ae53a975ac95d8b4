"""From the items of a source to a dataset, and what is done with datasets."""
