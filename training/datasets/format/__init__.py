"""The TFRecord format of datasets."""
