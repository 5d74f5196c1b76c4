"""Options of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from scope_dask.errors import OptionError, nearest

Imputation = Literal["median", "mean", "zero", "regress", "none"]
Scaling = Literal["none", "min_max", "median_std"]
CalibrationMethod = Literal["none", "sigmoid", "isotonic"]
Callback = Literal["early_stopping", "reduce_lr_on_plateau", "tensorboard"]
# What a network may be watched by: smaller is better of the first three.
METRICS = ("loss", "fp", "fn", "tp", "tn", "accuracy", "precision", "recall", "auc")
N_MINIMISED = 3


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options of the training that do not depend on the kind of model.

    Attributes
    ----------
    features : tuple of str or None
        What the models see; None: `feature_names` of the table.
    period_suffix : str or None
        Period algorithm whose columns are used; None: the columns have no suffix.
    fourier : {"raw", "documented"}
        Contents of the table's Fourier columns; recorded with the model.
    dataset : str
        Name of the training set; recorded with the model.
    threshold : float
        A label above it (not equal) is a member of the class.
    test_size, val_size : float
        Fraction of the stars for the test, and of the rest for validation.
    random_state : int
        Of the split, and of everything random in the training.
    imputation : {"median", "mean", "zero", "regress", "none"}
        Value in place of a missing feature, from the training rows; regress: that of the nearest stars in the other
        features with this strategy; none: a row without it is not used, and not scored.
    imputation_of : dict
        Strategy of single features, by name. Of ``dmdt``: zero (the default) or none.
    scaling : {"none", "min_max", "median_std"}
        (x − min)/(max − min) or (x − median)/std over the training rows.
    feature_stats : dict
        Of single features, by name with or without the period suffix: ``min`` and ``max`` or ``median`` and
        ``std`` to scale with instead of those of the training rows.
    weight_per_class : bool
        Weight members and others so that both count the same in total.
    balance : float or None
        Of members and others in the training part, the larger number is thinned at random to this many times the
        smaller; None: all are used.
    calibration : {"none", "sigmoid", "isotonic"}
        Make the scores probabilities by a curve that is fitted to the validation stars and kept with the model:
        of two numbers, or free as long as it does not fall (for a thousand validation stars or more).
    n_jobs : int
        Threads.
    gpu : int or None
        Number of the CUDA device to train on. None: trees on the CPU, networks where TensorFlow puts them.
    pre_trained_model : str or None
        File of a model whose training is continued. Its manifest, if it has one, says how features are imputed and
        scaled.
    """

    features: tuple[str, ...] | None = None
    period_suffix: str | None = "ELS_ECE_EAOV"
    fourier: Literal["raw", "documented"] = "raw"
    dataset: str = ""
    threshold: float = 0.7
    test_size: float = 0.1
    val_size: float = 0.1
    random_state: int = 42
    imputation: Imputation = "median"
    imputation_of: Mapping[str, Imputation] = field(default_factory=dict)
    scaling: Scaling = "none"
    feature_stats: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weight_per_class: bool = True
    balance: float | None = None
    calibration: CalibrationMethod = "none"
    n_jobs: int = 1
    gpu: int | None = None
    pre_trained_model: str | None = None

    def __post_init__(self) -> None:
        self._require(
            ("threshold", 0 <= self.threshold < 1, "at least 0 and below 1"),
            ("test_size", 0 <= self.test_size < 1, "at least 0 and below 1"),
            (
                "val_size",
                0 < self.val_size < 1,
                "above 0 and below 1 (early stopping needs validation stars)",
            ),
            ("balance", self.balance is None or self.balance >= 1, "None or at least 1"),
            ("n_jobs", self.n_jobs >= 1, "at least 1"),
            ("gpu", self.gpu is None or self.gpu >= 0, "None or at least 0"),
            ("features", self.features is None or len(self.features) > 0, "None or at least one name"),
        )
        one_of("imputation", self.imputation, get_args(Imputation))
        one_of("scaling", self.scaling, get_args(Scaling))
        one_of("calibration", self.calibration, get_args(CalibrationMethod))
        one_of("fourier", self.fourier, ("raw", "documented"))
        for name, strategy in self.imputation_of.items():
            one_of(f"imputation_of[{name!r}]", strategy, ("zero", "none") if name == "dmdt" else get_args(Imputation))

    def _require(self, *checks: tuple[str, bool, str]) -> None:
        for name, valid, expected in checks:
            if not valid:
                raise OptionError(f"{name} is {getattr(self, name)}; expected {expected}")

    @property
    def sees_features(self) -> bool:
        """Whether the model sees the features."""
        return True

    @property
    def dmdt_imputation(self) -> str | None:
        """What stands for a missing dmdt histogram, ``zero`` or ``none``; None: the model does not see them."""
        return None

    @property
    def float_bits(self) -> int:
        """To floats of how many bits the model's input is rounded."""
        return 32


@dataclass(frozen=True, slots=True)
class GridSearch:
    """Values among which the parameters of XGBoost are chosen by cross-validation, in stages.

    Attributes
    ----------
    max_depth, min_child_weight, subsample, colsample_bytree, eta : tuple
        As XGBoost names them.
    n_folds : int
        Of the training stars.
    metric : {"auc", "logloss"}
        What decides.
    """

    max_depth: tuple[int, ...] = (3, 5, 7)
    min_child_weight: tuple[float, ...] = (1.0, 3.0, 5.0)
    subsample: tuple[float, ...] = (0.6, 0.8, 1.0)
    colsample_bytree: tuple[float, ...] = (0.6, 0.8, 1.0)
    eta: tuple[float, ...] = (0.3, 0.2, 0.1, 0.05)
    n_folds: int = 5
    metric: Literal["auc", "logloss"] = "auc"

    def __post_init__(self) -> None:
        for name in ("max_depth", "min_child_weight", "subsample", "colsample_bytree", "eta"):
            if not (values := getattr(self, name)) or min(values) <= 0:
                raise OptionError(f"{name} of the grid search is {values}; expected values above 0")
        if self.n_folds < 2:
            raise OptionError(f"n_folds of the grid search is {self.n_folds}; expected at least 2")
        one_of("metric of the grid search", self.metric, ("auc", "logloss"))


@dataclass(frozen=True, slots=True)
class TrainingOptions(ModelOptions):
    """Options of the training of XGBoost classifiers, beside those of `ModelOptions`.

    Attributes
    ----------
    max_depth, min_child_weight, eta, subsample, colsample_bytree
        As XGBoost names them.
    num_boost_round : int
        Most trees.
    early_stopping_rounds : int
        Trees without a better validation result that end the training; the best model is kept.
    eval_metric : {"auc", "logloss"}
        Validation result. The area under the ROC curve is the original's; with few members it is soon at its
        best, and training stops before the scores reach the ends of their range.
    search : GridSearch or None
        Choose depth, weight, fractions and rate by cross-validation; None: those above. Not used where the training
        of a model is continued.
    """

    max_depth: int = 6
    min_child_weight: float = 1.0
    eta: float = 0.1
    subsample: float = 0.6
    colsample_bytree: float = 0.6
    num_boost_round: int = 999
    early_stopping_rounds: int = 10
    eval_metric: Literal["auc", "logloss"] = "logloss"
    search: GridSearch | None = None

    def __post_init__(self) -> None:
        ModelOptions.__post_init__(self)
        self._require(
            ("num_boost_round", self.num_boost_round >= 1, "at least 1"),
            ("early_stopping_rounds", self.early_stopping_rounds >= 1, "at least 1"),
        )
        one_of("eval_metric", self.eval_metric, ("auc", "logloss"))


@dataclass(frozen=True, slots=True)
class DNNOptions(ModelOptions):
    """Options of the training of neural networks, beside those of `ModelOptions`.

    Attributes
    ----------
    dense_branch, conv_branch : bool
        Whether the network sees the features, and the dmdt histograms.
    loss : {"binary_crossentropy", "binary_focal_crossentropy"}
    optimizer : {"adam", "sgd"}
    lr : float
        Learning rate to begin with.
    beta_1, beta_2, epsilon, amsgrad
        Of Adam.
    momentum : float
        Of stochastic gradient descent.
    decay : float
        The learning rate of step i, counted in batches, is divided by 1 + `decay` i.
    epochs, batch_size : int
        Most passes through the training rows, and rows of a step; the last step of a pass may have fewer.
    shuffle_buffer_size : int
        Rows among which the next one is drawn; they begin in random order.
    callbacks : tuple of {"early_stopping", "reduce_lr_on_plateau", "tensorboard"}
        Early stopping keeps the weights of the best epoch.
    monitor : str
        What early stopping and the learning rate follow: a metric (loss, tp, fp, tn, fn, accuracy, precision,
        recall, auc) of the training rows or, after ``val_``, of the validation rows.
    patience : int
        Epochs without a better value that end the training.
    lr_patience : int or None
        Epochs without a better value after which the learning rate becomes `lr_factor` times what it was. None:
        half of `patience`, so that it happens before the training ends.
    lr_factor : float
    float_convert_types : (int, int)
        Bits of the floats of the features, 64, and of those that the network is given: 64, 32 or 16. It computes
        in 32.
    run_eagerly : bool
        Step by step in Python, to look for errors: slow.
    tensorboard_dir : str
        Where TensorBoard's logs go.
    verbose : int
        What Keras shows of the training: 0 nothing, 1 a bar, 2 a line an epoch.
    """

    scaling: Scaling = "min_max"
    dense_branch: bool = True
    conv_branch: bool = True
    loss: Literal["binary_crossentropy", "binary_focal_crossentropy"] = "binary_crossentropy"
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 3e-4
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = True
    momentum: float = 0.9
    decay: float = 0.0
    epochs: int = 100
    batch_size: int = 64
    shuffle_buffer_size: int = 512
    callbacks: tuple[Callback, ...] = ("early_stopping", "reduce_lr_on_plateau")
    monitor: str = "val_loss"
    patience: int = 20
    lr_patience: int | None = None
    lr_factor: float = 0.1
    float_convert_types: tuple[int, int] = (64, 32)
    run_eagerly: bool = False
    tensorboard_dir: str = "logs"
    verbose: int = 0

    def __post_init__(self) -> None:
        ModelOptions.__post_init__(self)
        if not (self.dense_branch or self.conv_branch):
            raise OptionError("dense_branch and conv_branch are both off; expected one of them, or both, on")
        least_one = "at least 1"
        self._require(
            ("lr", self.lr > 0, "above 0"),
            ("beta_1", 0 <= self.beta_1 < 1, "at least 0 and below 1"),
            ("beta_2", 0 <= self.beta_2 < 1, "at least 0 and below 1"),
            ("epsilon", self.epsilon > 0, "above 0"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("decay", self.decay >= 0, "at least 0"),
            *((n, getattr(self, n) >= 1, least_one) for n in ("epochs", "batch_size", "shuffle_buffer_size")),
            ("patience", self.patience >= 1, least_one),
            ("lr_patience", self.lr_patience is None or self.lr_patience >= 1, f"None or {least_one}"),
            ("lr_factor", 0 < self.lr_factor < 1, "above 0 and below 1"),
            ("verbose", self.verbose in {0, 1, 2}, "0, 1 or 2"),
            (
                "float_convert_types",
                self.float_convert_types in {(64, 64), (64, 32), (64, 16)},
                "64 (what features are) and 64, 32 or 16",
            ),
        )
        one_of("loss", self.loss, ("binary_crossentropy", "binary_focal_crossentropy"))
        one_of("optimizer", self.optimizer, ("adam", "sgd"))
        one_of("monitor", self.monitor, tuple(f"{part}{name}" for name in METRICS for part in ("val_", "")))
        for name in self.callbacks:
            one_of("callbacks", name, get_args(Callback))

    @property
    def sees_features(self) -> bool:
        """Whether the network has a dense branch."""
        return self.dense_branch

    @property
    def dmdt_imputation(self) -> str | None:
        """What stands for a missing dmdt histogram, ``zero`` or ``none``; None: there is no such branch."""
        return self.imputation_of.get("dmdt", "zero") if self.conv_branch else None

    @property
    def float_bits(self) -> int:
        """To floats of how many bits the network's input is rounded."""
        return self.float_convert_types[1]


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What a record holds beside statistics and figures.

    Attributes
    ----------
    pdf : bool
        Figures as PDF too; then matplotlib must be there.
    model : bool
        The model itself: the layers of a network as a figure, the trees as text.
    context : dict
        Further entries of ``<name>_record.json``.
    cm_include_count, cm_include_percent, annotate_scores : bool
        What the fields of the confusion matrix show, and whether titles have the score.
    """

    pdf: bool = False
    model: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)
    cm_include_count: bool = False
    cm_include_percent: bool = True
    annotate_scores: bool = False


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise OptionError if `value` is not among the `known` ones."""
    if value not in known:
        raise OptionError(f"{option} is {value!r}{nearest(str(value), known)}; expected one of {', '.join(known)}")
