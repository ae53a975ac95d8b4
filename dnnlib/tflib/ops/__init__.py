"""Operations by their official names, over `tf_ops`."""
