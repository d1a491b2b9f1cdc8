"""CUT: images of one domain are translated into another, learned from unpaired images.

settings     the keys of config.method and config.discriminator, and their constraints
draws        the images of a step
judge        the discriminator: what it sees and what it minimises
objective    what the generator and the patch heads minimise
method       init, train_step, translate, pictures
"""
