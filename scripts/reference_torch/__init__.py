"""The classifiers of this project trained by a plain PyTorch loop, to compare frameworks.

    train       the command: the flags of the project's train.py
    support     what the loop can train, and what it refuses
    networks    models/classifiers.py in PyTorch, with torchvision's names
    batches     the stream of batches, and their augmentation
    steps       the learning rate, the optimiser and one step
    checkpoint  the file from which a run resumes
    loop        training, validation, test

Data, split, config and files of a run are the project's own; only what computes is PyTorch's.
docs/suites.md says what is the same and what differs.
"""
