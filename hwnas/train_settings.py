"""How networks are trained: settings as they stand in a configuration file, checked, without torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(gt=0)]
_Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FitSettings(BaseModel):
    """What every training needs: stochastic gradient descent with Nesterov momentum, one cycle of the learning rate.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in a step.
        learning_rate: at its peak, after ``warmup`` (a fraction of the steps); a cosine takes it to zero.
        momentum: of the gradient.
        weight_decay: on weights of convolutions and linear layers, not on biases and batch norm.
        label_smoothing: share of the label that is spread over all classes.
        shift: each image is moved by up to this fraction of its longer side, in whole pixels; what it leaves is black.
        averaging: time constant of the exponential average of the weights, as a fraction of all steps. What it averages over
            must be short beside the end of the cycle, or it holds weights that had not learned enough.
        checkpoint_steps: steps between two checkpoints; every epoch ends with one as well.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    epochs: _Count = 12
    batch_size: _Count = 128
    learning_rate: _Positive = 0.4
    warmup: _Fraction = 0.2
    momentum: _Fraction = 0.9
    weight_decay: _NotNegative = 5e-4
    label_smoothing: _Fraction = 0.1
    shift: _Fraction = 0.07
    averaging: Annotated[float, Field(gt=0, lt=1)] = 0.02
    checkpoint_steps: _Count = 200


class TrainSettings(FitSettings):
    """How the network that was found is trained."""


class RankingSettings(FitSettings):
    """What every accuracy model needs.

    Attributes:
        validation_images: images of the validation split that rank networks.
    """

    validation_images: _Count = 2000


class SupernetSettings(RankingSettings):
    """How a supernet is trained, and how its networks are evaluated.

    Attributes:
        random_networks: networks drawn at random in a step, beside the largest and the smallest.
        calibration_images: training images from which a network's batch norm statistics are taken.
    """

    epochs: _Count = 2
    learning_rate: _Positive = 0.2
    random_networks: _Count = 1
    calibration_images: _Count = 512


class ShortTrainingSettings(RankingSettings):
    """How each network is trained that is to be ranked."""

    epochs: _Count = 2
