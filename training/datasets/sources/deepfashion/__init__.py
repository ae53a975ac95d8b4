"""The DeepFashion benchmarks (Liu et al., CVPR 2016) and their successors as datasets."""
