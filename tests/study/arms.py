"""The arms of the study: what each one changes of the sets' config. docs/method.md says why they are there.

Two further arms stand for joint training: k = 0 on both modalities trains the extractors by the fused loss alone, to the same bits as loss weights of 0 would (a test holds them
against each other), and lets the heads learn on top, so that what each modality knows can be measured.
"""
ADAMW = {"optimiser.kind": "adamw", "optimiser.second_moment": "bound"}
MODULATED = {"optimiser.kind": "adamw", "optimiser.second_moment": "modulated"}
SGD = {"optimiser.kind": "sgd", "optimiser.momentum": 0.9, "optimiser.weight_decay": 1e-4}
NONE = {"modulation.form": "none"}
JOINT = {"modulation.form": "constant", "modulation.constant": "[0, 0]"}
EXCESS = {"modulation.form": "excess", "modulation.alpha": 0.5}
RATIO = {"modulation.form": "ratio", "modulation.alpha": 0.5}
SLOT = {"modulation.statistics": "slot"}
MEAN = {"modulation.statistics": "mean", "modulation.decay": 0.9}
MLB = {"modulation.form": "mlb", "modulation.beta_max": 2}
PARETO = {"modulation.form": "pareto", "modulation.gamma": 1.5}

# In this order: arms that replay another one's coefficients come after it.
ARMS = {
    "joint": {**MODULATED, **JOINT},
    "none": {**ADAMW, **NONE},
    "excess": {**ADAMW, **EXCESS},
    "excess_mean": {**ADAMW, **EXCESS, **MEAN},
    "excess_modulated": {**MODULATED, **EXCESS},
    "excess_slot": {**MODULATED, **EXCESS, **SLOT},
    "ratio": {**ADAMW, **RATIO},
    "ratio_modulated": {**MODULATED, **RATIO},
    "ratio_slot": {**MODULATED, **RATIO, **SLOT},
    "constant": ADAMW,  # k = the time mean of `excess`
    "shuffled": ADAMW,  # the k of `excess`, in a random order
    "excess_update": {**ADAMW, **EXCESS, "modulation.scale": "update"},
    "mlb": {**ADAMW, **MLB, "modulation.alpha": 0.5},
    "mlb_gradient": {**MODULATED, **MLB, "modulation.alpha": 1.5, "modulation.scale": "gradient"},  # as published
    "pareto": {**MODULATED, **PARETO},
    "sgd_joint": {**SGD, **JOINT},
    "sgd_none": {**SGD, **NONE},
    "sgd_excess": {**SGD, **EXCESS},
    "sgd_excess_slot": {**SGD, **EXCESS, **SLOT},
    "sgd_ratio": {**SGD, **RATIO},
    "sgd_ratio_slot": {**SGD, **RATIO, **SLOT},
    "sgd_pareto": {**SGD, **PARETO},
}
# Added after the first results, to see what a stronger alpha does: exploratory, in no contrast that was written down before.
EXPLORATORY = {f"excess_alpha{alpha}": {**ADAMW, **EXCESS, "modulation.alpha": alpha} for alpha in (1, 2, 4)}
EVERY = {**ARMS, **EXPLORATORY}
REPLAYS = {"constant": "excess", "shuffled": "excess"}
RATES = {"adamw": (1e-3, 2e-3, 4e-3), "sgd": (3e-2, 1e-1, 2e-1)}
TUNING_SEEDS = (1001, 1002)


def rates(arm):
    return RATES["sgd" if arm.startswith("sgd_") else "adamw"]
