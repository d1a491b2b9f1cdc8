"""Flow matching and MeanFlow in one method: the share of examples with r != t tells them apart.

Geng et al., "Mean Flows for One-step Generative Modeling" (arXiv:2505.13447); improved: "Improved
Mean Flows: On the Challenges of Fastforward Generative Models" (arXiv:2512.02012). What is learned
is u(z, r, t), the mean velocity between r and t; where r = t it is the velocity of flow matching
(arXiv:2210.02747). A batch is split statically: the rows with r != t take a Jacobian-vector
product, whose primal is the forward pass, and the others an ordinary forward pass.

    settings     the keys of config.method, and what they exclude
    draws        what a step draws: noise, times, dropped labels
    diagnostics  numbers that say how a run goes: distances to data, the error of a single step
    method       init, train_step, sample
"""
