import torch
from sklearn.datasets import load_digits

from rnc import data


def test_digits_are_balanced_in_range_and_do_not_overlap():
    images = data.load("digits")
    assert images.x.shape == images.x_test.shape == (500, 3, 16, 16)
    assert torch.bincount(images.y).tolist() == torch.bincount(images.y_test).tolist() == [50] * 10
    assert images.x.min() >= 0.3 - 1e-6
    assert images.x.max() <= 0.7 + 1e-6
    assert not {tuple(v) for v in images.x.flatten(1).tolist()} & {
        tuple(v) for v in images.x_test.flatten(1).tolist()
    }


def test_digits_are_the_real_ones():
    images, original = data.load("digits"), load_digits()
    small = torch.nn.functional.avg_pool2d((images.x[:, 0] - 0.5) / 0.4 + 0.5, 2)
    first = torch.from_numpy(original.images / 16).float()
    # each enlarged image is nearest to an original of its own class
    nearest = torch.cdist(small.flatten(1), first.flatten(1)).argmin(1)
    assert (torch.from_numpy(original.target)[nearest] == images.y).all()


def test_mean_and_std_are_of_the_training_images():
    images = data.load("digits")
    pixels = images.x.double().numpy()
    for c in range(3):
        assert abs(images.mean[c] - pixels[:, c].mean()) < 1e-9
        assert abs(images.std[c] - pixels[:, c].std()) < 1e-9
