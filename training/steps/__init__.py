"""One step of training, a file a game: the K+1 GAN's, and that of a generator against a plain discriminator."""
