"""Drifting: a generator trained to follow the drift of its own samples.

Algorithm 1 of Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770), per step:

    draw classes, noise e, real positives y+ of these classes (and unconditional negatives)
    x = generator(e, class)
    V = field(phi(x), positives phi(y+), negatives phi(x) and unconditional ones)
    loss = |phi(x) - stopgrad(phi(x) + V)|^2

where phi are features. The field is the kernel field, or one trained jointly with the generator.

    settings       the keys of config.method and their constraints
    draws          the random draws of a step: classes, guidance scales, noise, real images
    targets        regression targets on feature stacks, from the kernel or the learned field
    learned_field  a field with parameters: its objectives and its training steps
    regression     the loss on fixed targets and its gradient, also in exact micro-batches
    method         the method made of these: init, train_step, sample
"""
