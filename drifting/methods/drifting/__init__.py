"""Drifting: a generator trained to follow the drift of its own samples.

Algorithm 1 of Deng et al., "Generative Modeling via Drifting" (arXiv:2602.04770): draw classes,
generate a set of each, draw real positives of the same classes, evaluate the field on features,
regress the generator's features on stopgrad(phi + V). The field is the kernel field, or one that is
learned beside the generator.

    settings       the keys of config.method, and what they exclude
    draws          what a step draws: classes, guidance scales, noise, real images
    targets        the goals that the fields set, on feature stacks
    learned_field  a field with parameters: its objectives and its steps
    regression     the loss on stopped goals and its gradient, whole or in exact micro-batches
    method         all of it together: init, train_step, sample
"""
