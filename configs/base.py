"""The values that every experiment starts from, and the only place where a key is declared.

A config file in this folder calls `get_config()` here and says only how it differs. The result is
locked: an unknown key, in a file or on the command line, is an error that names the nearest one.
Durations come in three units, of which one is set and the others are None: *_steps, *_epochs,
*_examples (real images seen).
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 42
    config.precision = "float32"  # or bfloat16: compute only, parameters stay float32
    config.deterministic = False  # bit-reproducible also on GPUs, at some speed (README)
    config.ema_decay = 0.999

    config.data = ConfigDict()
    config.data.source = "digits"  # tfds:<name>, folder:<path>, npz:<path>, digits
    config.data.split = "train"
    config.data.test_split = "test"  # real images never trained on, for evaluation
    config.data.image_size = 8
    config.data.channels = 1
    config.data.fit = "resize"  # or pad: how images of another size are brought to image_size
    config.data.on_corrupt = "error"  # or skip: unreadable images of a folder are left out
    config.data.flip = False  # mirror real images at random

    config.method = ConfigDict()
    config.method.name = "drifting"
    config.method.field = "kernel"
    # distance: as released by the paper's authors, guidance by unconditional negatives.
    # sphere: on L2-normalised features, guidance by extrapolation from the null class.
    config.method.normalization = "distance"
    config.method.temperatures = (0.02, 0.05, 0.2)
    config.method.classes_per_step = 0  # 0: all classes
    config.method.num_generated = 32  # a class and step
    config.method.num_positives = 32  # a class and step
    config.method.num_unconditional = 16  # real negatives of any class, a class and step (distance)
    config.method.scale_per_label = False  # distance scale of each class, not of the whole batch
    config.method.drop_self_pairs = False  # a sample's affinity to itself is 0, not 1e-3
    config.method.cfg_min = 1.0
    config.method.cfg_max = 3.0
    config.method.cfg_power = 3.0  # p(s) ~ s^-power
    config.method.cfg_share_at_one = 0.5
    config.method.label_dropout = 0.1
    config.method.queue_size = 0  # images a class in a sample queue (128 originally); 0: whole set
    config.method.queue_push = 64  # fresh images a step into the queue
    config.method.micro_batches = 1  # exact; more saves memory and costs one more forward pass

    config.model = ConfigDict()
    config.model.name = "drift_dit"
    config.model.size = "tiny"  # nano, tiny, small (models/dit.py)
    config.model.patch_size = 4
    config.model.num_registers = 8

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 2e-4
    config.optimizer.warmup_steps = 1000
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.95
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 2.0  # 0: gradients are not clipped

    config.train = ConfigDict()
    for name, steps in (("total", 50_000), ("log", 50), ("sample", 1000), ("checkpoint", 2000)):
        config.train[f"{name}_steps"] = config_dict.placeholder(int)
        config.train[f"{name}_steps"] = steps
        config.train[f"{name}_epochs"] = config_dict.placeholder(float)
        config.train[f"{name}_examples"] = config_dict.placeholder(int)
    config.train.steps_per_epoch = 0  # 0: images of the data set / real images a step
    config.train.steps_per_call = 10  # steps a dispatch; the host looks in between
    config.train.keep_checkpoints = 3  # the newest that stay
    config.train.keep_every_steps = 0  # checkpoints at multiples of this stay as well; 0: none
    config.train.tensorboard = True

    config.mesh = ConfigDict()
    config.mesh.data = 0  # devices along the batch; 0: all that are left
    config.mesh.fsdp = 1  # devices over which parameters are split as well

    config.eval = ConfigDict()
    config.eval.num_samples = 50_000
    config.eval.batch_size = 256
    config.eval.cfg_scale = 1.5
    config.eval.seed = 42
    config.eval.features = "inception"  # or pixels
    config.eval.fid_mode = "clean"  # or legacy_tensorflow, legacy_pytorch: how images are resized
    # fid, kid, is, prdc (precision, recall, density, coverage), mifid, neighbours (of pixels)
    config.eval.metrics = ("fid",)
    return config.lock()
