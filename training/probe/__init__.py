"""Probes a discriminator trained without labels: a linear classifier of its features, Radford et al. 2015, section 5.

mintage probe runs/dcgan32 --data cifar10/

Every convolution's maps are max-pooled to 4 x 4, with batch normalisation frozen to the statistics of the training
images. A linear L2-SVM classifies these features; its cost, and whether features are standardised, are chosen
on a part of the training images, never on test images. One temperature, fitted on the same part, makes
softmax(scores / temperature) honest probabilities (Guo et al. 2017, arXiv:1706.04599).
"""
