"""The networks beside the U-Net: texts and pictures to embeddings, pictures to latents and back."""
