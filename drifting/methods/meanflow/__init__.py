"""MeanFlow, and flow matching as its special case in which all rows of a batch have r = t.

Geng et al., "Mean Flows for One-step Generative Modeling" (arXiv:2505.13447); improved: "Improved
Mean Flows: On the Challenges of Fastforward Generative Models" (arXiv:2512.02012). With data x,
noise e, z_t = (1 - t) x + t e and v = e - x, a network u(z, r, t) learns the mean velocity between
r and t from the MeanFlow identity

    u = v - (t - r) du/dt,    du/dt = v d_z u + d_t u (a Jacobian-vector product)
    loss = |u - stopgrad(v - (t - r) du/dt)|^2, adaptively weighted

and one step samples: x = e - u(e, 0, 1). For r = t the loss is that of flow matching
(arXiv:2210.02747). A batch is split statically: rows with r != t take a Jacobian-vector product,
whose primal output is the forward pass, and rows with r = t an ordinary forward pass.

    settings     the keys of config.method and their constraints
    draws        the random draws of a step: noise, times, dropped labels
    diagnostics  measures of progress: distances to data, the error of a single step
    method       init, train_step, sample
"""
