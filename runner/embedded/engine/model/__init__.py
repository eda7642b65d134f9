"""The MODEL that nodes hand on: the U-Net, the noise levels and conditions around it, and the patches put on it."""
