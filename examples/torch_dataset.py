"""A run on a torch data set of your own: here scikit-learn's digits as tensors. The same call again goes on."""

import sklearn.datasets
import torch

from hwnas import Config
from hwnas.datasets import as_task
from hwnas.run import run

digits = sklearn.datasets.load_digits()
images = torch.tensor(digits.images[:, None] / 16)  # (n, channels, height, width), between 0 and 1
data = torch.utils.data.TensorDataset(images, torch.tensor(digits.target))
config = Config.model_validate({"budget": {"latency_fraction_of_largest": 0.5}, "train": {"epochs": 12}})
result = run(config, "runs/torch_dataset", task=as_task(data, name="my digits"))
print(result.genes, result.certificate)
