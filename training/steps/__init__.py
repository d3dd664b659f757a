"""One step of training, one file per game: the K+1 GAN, and a generator against a plain discriminator."""
