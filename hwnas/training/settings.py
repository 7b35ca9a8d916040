"""How networks are trained: settings as they stand in a configuration file, checked, without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwnas.settings import Settings

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(gt=0)]
_Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FitSettings(Settings):
    """What every training needs: stochastic gradient descent with Nesterov momentum, one cycle of the learning rate.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in a step.
        learning_rate: at its peak, after ``warmup`` (a fraction of the steps); a cosine takes it to zero.
        momentum: of the gradient.
        weight_decay: on weights of convolutions and linear layers, not on biases and batch norm.
        label_smoothing: share of the label that is spread over all classes.
        shift: each image is moved by up to this fraction of its longer side, in whole pixels; what it leaves is black.
        erase: probability that a random rectangle of an image is replaced by noise (Zhong et al. 2020); 0 is off.
        averaging: time constant of the exponential average of the weights, as a fraction of all steps. What it averages over
            must be short beside the end of the cycle, or it holds weights that had not learned enough.
        checkpoint_steps: steps between two checkpoints; every epoch ends with one as well.
    """

    epochs: _Count = 12
    batch_size: _Count = 128
    learning_rate: _Positive = 0.4
    warmup: _Fraction = 0.2
    momentum: _Fraction = 0.9
    weight_decay: _NotNegative = 5e-4
    label_smoothing: _Fraction = 0.1
    shift: _Fraction = 0.07
    erase: _Share = 0.0
    averaging: Annotated[float, Field(gt=0, lt=1)] = 0.02
    checkpoint_steps: _Count = 200


class NetworkSettings(FitSettings):
    """How one network is trained by itself.

    Attributes:
        mixup: α of the Beta distribution from which each image's share of a mixture of two is drawn (Zhang et al. 2018,
            section 2); 0 is off.
        patience: epochs without a better validation accuracy of the averaged weights after which the training ends. A cosine
            gains most where it ends, so this has to be generous; 0 is off. The best epoch is kept either way.
    """

    mixup: _NotNegative = 0.0
    patience: Annotated[int, Field(ge=0)] = 0


class TrainSettings(NetworkSettings):
    """How the network that was found is trained.

    Attributes:
        start: ``"supernet"`` inherits the weights, ``"scratch"`` draws new ones. By default it inherits where the accuracy
            model has weights to inherit.
        inherited_rate: the learning rate of a network that inherits, as a fraction of ``learning_rate``.
        also_from_scratch: train from scratch as well; the one with the better validation accuracy is delivered.
        teacher_weight: share of the loss that compares with the supernet's largest network (Hinton et al. 2015); 0 is off, and
            so is an accuracy model without such a network.
        temperature: by which both networks' logits are divided when they are compared.
    """

    patience: Annotated[int, Field(ge=0)] = 15
    start: Literal["supernet", "scratch"] | None = None
    inherited_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    also_from_scratch: bool = False
    teacher_weight: _Share = 0.5
    temperature: _Positive = 2.0

    @model_validator(mode="after")
    def _check(self) -> TrainSettings:
        if self.also_from_scratch and self.start == "scratch":
            raise ValueError('also_from_scratch is for start = "supernet"')
        return self


class LearnSettings(Settings):
    """How the distribution is learnt that gradient search draws from.

    Attributes:
        epochs: passes over the training images; in the first fifth the chances stay as they are.
        batch_size: images in a step, of either split.
        learning_rate: of the weights (SGD with momentum 0.9, cosine schedule).
        chances_rate: of the chances (Adam).
        excess_weight: of the expected excess over the budget, beside a cross-entropy.
    """

    epochs: _Count = 10
    batch_size: _Count = 64
    learning_rate: _Positive = 0.1
    chances_rate: _Positive = 0.05
    excess_weight: _NotNegative = 5.0


class RankingSettings(FitSettings):
    """What every accuracy model needs.

    Attributes:
        validation_images: images of the validation split that rank networks.
    """

    validation_images: _Count = 2000


class SupernetSettings(RankingSettings):
    """How a supernet is trained, and how its networks are evaluated.

    Attributes:
        schedule: ``"sandwich"`` or ``"progressive"``, see :func:`hwnas.training.supernet.train_supernet`.
        epochs: passes over the training images; of each phase, where the schedule has phases.
        random_networks: networks drawn at random in a step.
        calibration_images: training images from which a network's batch norm statistics are taken.
    """

    schedule: Literal["sandwich", "progressive"] = "sandwich"
    epochs: _Count = 2
    learning_rate: _Positive = 0.2
    random_networks: _Count = 1
    calibration_images: _Count = 512


class AloneSettings(NetworkSettings, RankingSettings):
    """How each network is trained that is to be ranked."""

    epochs: _Count = 2


class ShortTrainingSettings(AloneSettings):
    """How, and how often.

    Attributes:
        folds: 1 judges by the validation images. More puts them together with the training images and deals all into so many
            parts; each network is trained so often, judged by each part in turn, and its number is the mean.
    """

    folds: _Count = 1


class HalvingSettings(AloneSettings):
    """How networks that are to be ranked are trained in rounds, of which each goes on with the best only.

    Attributes:
        epochs: of a network that gets through all rounds; the learning rate's cycle is as long for all of them.
        first_epochs: of the first round.
        reduction: one of so many networks goes on, with so many times the epochs (η).
        brackets: over how many ways to begin generations take turns: with the first round, with the second, …; one is
            successive halving, more is Hyperband.
    """

    epochs: _Count = 9
    first_epochs: _Count = 1
    reduction: Annotated[int, Field(gt=1)] = 3
    brackets: _Count = 1

    @model_validator(mode="after")
    def _check(self) -> HalvingSettings:
        if self.first_epochs > self.epochs:
            raise ValueError(f"first_epochs ({self.first_epochs}) must not be more than epochs ({self.epochs})")
        if self.brackets > len(self.rounds):
            raise ValueError(f"brackets ({self.brackets}) must not be more than rounds ({len(self.rounds)})")
        return self

    @property
    def rounds(self) -> tuple[int, ...]:
        """Epochs that a network has been trained for at the end of each round."""
        found = [self.first_epochs]
        while found[-1] * self.reduction < self.epochs:
            found.append(found[-1] * self.reduction)
        return (*found, self.epochs) if found[-1] < self.epochs else tuple(found)
