"""Writing a pair: the picture and its mask, whole or not at all."""
