"""A variational autoencoder, which compresses images to latents on which generators can train.

settings     the keys of config.method and their constraints
losses       what training minimises and how reconstructions are scored
method       init, train_step, scores, pictures
"""
