from typing import ClassVar
from urllib.error import URLError

import numpy as np
import pytest
import torch
from conftest import write_images
from PIL import Image
from sklearn.datasets import load_digits
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from rnc.study import data
from rnc.study.data import DATASETS, DataError


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


# Folders of images, and CIFAR --------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    train = write_images(tmp_path / "pictures" / "train", {"dog": 3, "cat": 4})
    write_images(tmp_path / "pictures" / "test", {"dog": 2, "cat": 1}, seed=1)
    return tmp_path / "pictures", train


def test_a_folder_of_images_is_read_pixel_by_pixel(pictures):
    path, train = pictures
    images = data.load(f"imagefolder:{path}")
    assert images.classes == ("cat", "dog")
    assert images.y.tolist() == [0] * 4 + [1] * 3
    assert images.y_test.tolist() == [0, 1, 1]
    assert images.x.dtype == torch.uint8
    expected = np.concatenate([train["cat"], train["dog"]])
    assert np.array_equal(images.x.permute(0, 2, 3, 1).numpy(), expected)
    assert images.mean == pytest.approx(expected.reshape(-1, 3).mean(0) / 255)
    assert images.std == pytest.approx((expected.reshape(-1, 3) / 255).std(0))
    assert torch.equal(data.unit(images.x), torch.from_numpy(expected).permute(0, 3, 1, 2) / 255)


def test_unit_leaves_what_is_in_range_alone():
    x = torch.rand(2, 3, 4, 4)
    assert data.unit(x) is x


def test_a_limit_keeps_the_first_images_of_each_class(pictures):
    path, train = pictures
    images = data.load(f"imagefolder:{path}", per_class=2)
    expected = np.concatenate([train["cat"][:2], train["dog"][:2]])
    assert np.array_equal(images.x.permute(0, 2, 3, 1).numpy(), expected)
    assert images.y_test.tolist() == [0, 1, 1]
    digits, whole = data.load("digits", per_class=7), data.load("digits")
    assert torch.bincount(digits.y).tolist() == [7] * 10
    assert torch.equal(digits.x[7:14], whole.x[whole.y == 1][:7])


def test_a_limit_that_a_class_cannot_fill_is_an_error(pictures):
    with pytest.raises(
        DataError, match=r"class 'dog' of imagefolder:.* has 3, and per_class is 4"
    ):
        data.load(f"imagefolder:{pictures[0]}", per_class=4)


def test_images_of_several_sizes_are_an_error_unless_a_size_is_asked_for(tmp_path):
    for part in ("train", "val"):  # ImageNette calls it val
        write_images(tmp_path / part, {"a": 2}, size=(12, 8))
        write_images(tmp_path / part, {"b": 2}, size=(8, 16))
    with pytest.raises(DataError, match=r"a/000.png has 12 x 8 pixels and .*b/000.png has 8 x 16"):
        data.load(f"imagefolder:{tmp_path}")
    images = data.load(f"imagefolder:{tmp_path}@8")
    assert images.x.shape == images.x_test.shape == (4, 3, 8, 8)
    # the shorter side has 8 pixels already, so that this is the centre as it was
    original = np.array(Image.open(tmp_path / "train" / "a" / "001.png"))
    assert np.array_equal(images.x[1].permute(1, 2, 0).numpy(), original[:, 2:10])


def test_what_is_wrong_with_a_folder_is_named(pictures, tmp_path):
    path, _ = pictures
    name = f"imagefolder:{path}"
    with pytest.raises(DataError, match=r"there is no folder .*nowhere/train"):
        data.load(f"imagefolder:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match=r"there is no folder .*/pictures@big/train"):
        data.load(f"{name}@big")
    whole = (path / "train" / "cat" / "001.png").read_bytes()
    for broken in (b"no image", whole[: len(whole) // 2], b""):
        (path / "train" / "cat" / "001.png").write_bytes(broken)
        with pytest.raises(DataError, match=r"train/cat/001.png is not an image that can be read"):
            data.load(name)
    (path / "train" / "cat" / "001.png").write_bytes(whole)
    (path / "train" / "bird").mkdir()
    with pytest.raises(DataError, match=r"every class needs images; there are none in .*/bird"):
        data.load(name)


def test_a_folder_whose_name_ends_like_a_size_is_that_folder(tmp_path):
    for part in ("train", "test"):
        write_images(tmp_path / "photos@2023" / part, {"a": 2, "b": 2}, size=(6, 4))
    assert data.load(f"imagefolder:{tmp_path}/photos@2023").x.shape[2:] == (4, 6)
    assert data.load(f"imagefolder:{tmp_path}/photos@2023@3").x.shape[2:] == (3, 3)


def test_a_digest_names_pixels_and_labels(pictures):
    path, _ = pictures
    first, again = (data.load(f"imagefolder:{path}", per_class=n).digest for n in (None, 2))
    assert first != again
    pixels = np.asarray(Image.open(path / "test" / "dog" / "000.png")).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path / "test" / "dog" / "000.png")
    data._load.cache_clear()
    changed = data.load(f"imagefolder:{path}").digest
    assert len({first, again, changed}) == 3
    assert all(len(digest) == 16 for digest in (first, changed))


def test_a_part_of_each_class_is_chosen_on_the_device_of_the_images():
    images = data.load("digits")
    x, y = data.first_of_each(images.x, images.y, 3)
    assert torch.bincount(y).tolist() == [3] * 10
    assert torch.equal(x[3:6], images.x[images.y == 1][:3])
    with FakeTensorMode(shape_env=ShapeEnv()):  # refuses what would mix devices
        x, y = torch.empty(6, 3, device="cuda"), torch.empty(6, dtype=torch.int64, device="cuda")
        assert {t.device.type for t in data.first_of_each(x, y, 2)} == {"cuda"}


@pytest.mark.parametrize("name", ["digits"])
def test_what_is_known_of_a_data_set_beforehand_is_so(name):
    images, known = data.load(name), DATASETS[name]
    assert (known.classes, known.shape) == (len(images.classes), images.x.shape[1:])
    assert torch.bincount(images.y).tolist() == [known.per_class] * known.classes
    assert torch.bincount(images.y_test).tolist() == [known.per_class] * known.classes


@pytest.fixture
def decoded(monkeypatch):
    """Files of images that were decoded; folders of five images count as large."""
    read, files = data._read, []
    monkeypatch.setattr(data, "MANY", 5)
    monkeypatch.setattr(data, "_read", lambda file, size: files.append(file) or read(file, size))
    return files


def again(name, **options):
    data._load.cache_clear()  # as another process
    return data.load(name, **options)


def same(one, other):
    tensors = ("x", "y", "x_test", "y_test")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors) and (
        one.classes == other.classes
    )


def test_many_images_are_decoded_once(pictures, empty_store, decoded):
    path, train = pictures
    name, kept = f"imagefolder:{path}", path.parent / "pictures.decoded.safetensors"
    first = again(name)
    expected = np.concatenate([train["cat"], train["dog"]])
    assert np.array_equal(first.x.permute(0, 2, 3, 1).numpy(), expected)
    assert len(decoded) == 10
    assert kept.is_file()
    assert same(again(name), first)
    assert len(decoded) == 10
    # a part of them, or another size, are other images
    few, small = again(name, per_class=2), again(f"{name}@3")
    assert (len(few.x), small.x.shape[2:]) == (4, (3, 3))
    assert same(again(name), first)
    assert same(again(name, per_class=2), few)
    assert len(decoded) == 10 + 7 + 10
    # whatever becomes of the file
    for content in (b"", kept.read_bytes()[:-1]):
        kept.write_bytes(content)
        assert same(again(name), first)
    assert len(decoded) == 27 + 2 * 10


@pytest.mark.parametrize("change", ["other pixels", "one more", "one less", "another name"])
def test_images_that_change_are_decoded_again(pictures, empty_store, decoded, change):
    path, _ = pictures
    name, file = f"imagefolder:{path}", path / "train" / "cat" / "000.png"
    before = again(name)
    pixels = 255 - np.asarray(Image.open(file))
    if change == "other pixels":
        Image.fromarray(pixels).save(file)
    elif change == "one more":
        Image.fromarray(pixels).save(file.with_name("0000.png"))
    elif change == "one less":
        file.unlink()
    else:  # which comes last, not first
        file.rename(file.with_name("999.png"))
    decoded.clear()
    after = again(name)
    assert len(decoded) == len(after.y) + len(after.y_test)
    assert not same(before, after)
    assert same(again(name), after)
    assert len(list(path.parent.glob("*.safetensors"))) == 1


def test_beside_a_folder_that_cannot_be_written_the_store_keeps_the_images(
    pictures, empty_store, decoded, tmp_path, monkeypatch
):
    path, _ = pictures
    (path.parent / "pictures.decoded.safetensors").mkdir()  # in the way, also of root
    first = again(f"imagefolder:{path}")
    assert (empty_store / "pictures.decoded.safetensors").is_file()
    assert same(again(f"imagefolder:{path}"), first)
    assert len(decoded) == 10
    (tmp_path / "file").touch()
    monkeypatch.setenv("RNC_STORE", str(tmp_path / "file" / "store"))  # nor can that be written
    assert same(again(f"imagefolder:{path}"), first)
    assert len(decoded) == 20


def test_few_images_are_not_kept(pictures, empty_store):
    again(f"imagefolder:{pictures[0]}")
    assert not [*pictures[0].parent.glob("*.safetensors"), *empty_store.glob("*")]


def test_a_folder_of_one_class_is_an_error(tmp_path):
    for part in ("train", "test"):
        write_images(tmp_path / part, {"only": 2})
    with pytest.raises(DataError, match=r"at least two class folders; got \('only',\)"):
        data.load(f"imagefolder:{tmp_path}")


class FakeCifar:
    """What torchvision's CIFAR10 gives: images N x H x W x C in mixed order."""

    classes: ClassVar = ["cat", "dog"]

    def __init__(self, root, train, download):
        assert download
        rng = np.random.default_rng(train)
        self.data = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        self.targets = [1, 0, 0, 1, 1, 0]


def test_cifar_is_the_same_from_torchvision_from_folders_and_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeCifar)
    monkeypatch.setenv("RNC_DATA", str(tmp_path / "one"))
    one = data.load("cifar10")
    assert one.y.tolist() == [0, 0, 0, 1, 1, 1]
    for part in ("train", "test"):
        source, counts = FakeCifar(None, part == "train", True), [0, 0]
        for image, label in zip(source.data, source.targets, strict=True):
            folder = tmp_path / "two" / "cifar10" / part / source.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{counts[label]:04d}.png")
            counts[label] += 1
    monkeypatch.setenv("RNC_DATA", str(tmp_path / "two"))
    two = data.load("cifar10")
    (tmp_path / "three").mkdir()
    arrays = {
        "x": one.x.numpy(), "y": one.y.numpy(), "x_test": one.x_test.numpy(),
        "y_test": one.y_test.numpy(), "classes": np.array(one.classes),
    }  # fmt: skip
    np.savez(tmp_path / "three" / "cifar10.npz", **arrays)
    monkeypatch.setenv("RNC_DATA", str(tmp_path / "three"))
    three = data.load("cifar10")
    for other in (two, three):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.x_test, other.x_test)
        assert one.digest == other.digest
        assert (one.classes, one.mean, one.std) == (other.classes, other.mean, other.std)


def test_images_drawn_at_random_are_the_same_of_every_copy(tmp_path, monkeypatch):
    class Shuffled(FakeCifar):
        def __init__(self, root, train, download):
            super().__init__(root, train, download)
            order = [4, 2, 5, 1, 0, 3]
            self.data, self.targets = self.data[order], [self.targets[i] for i in order]

    copies = []
    for place, copy in (("one", FakeCifar), ("two", Shuffled)):
        monkeypatch.setattr("torchvision.datasets.CIFAR10", copy)
        monkeypatch.setenv("RNC_DATA", str(tmp_path / place))
        copies.append((data.load("cifar10"), data.load("cifar10-drawn")))
    (first, drawn), (other, again) = copies
    assert not torch.equal(first.x, other.x)
    assert torch.equal(drawn.x, again.x)
    assert torch.equal(drawn.x_test, again.x_test)
    for name in ("x", "x_test"):
        assert not torch.equal(getattr(drawn, name), getattr(first, name))
        for c in range(2):  # the images of a class are those of the class, in another order
            pairs = [
                sorted(image.numpy().tobytes() for image in getattr(of, name)[getattr(of, y) == c])
                for of in (drawn, first)
                for y in (name.replace("x", "y"),)
            ]
            assert pairs[0] == pairs[1]
    few = data.load("cifar10-drawn", per_class=2)
    assert torch.equal(few.x, drawn.x[[0, 1, 3, 4]])


def test_without_a_network_the_error_says_how_to_point_at_a_copy(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.CIFAR100", no_network)
    monkeypatch.setenv("RNC_DATA", str(tmp_path))
    with pytest.raises(
        DataError,
        match=r"CIFAR-100 is not in .* could not be downloaded \(.*no route to host.*\); set "
        r"RNC_DATA to a folder that holds torchvision's copy, cifar100.npz, or cifar100/train and",
    ):
        data.load("cifar100")


def of_arrays(path, **changes):
    x = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
    arrays = {"x": x, "y": np.array([2, 0, 1, 0, 1, 2]), "x_test": x[:3], "y_test": np.arange(3)}
    np.savez(path, **{n: a for n, a in (arrays | changes).items() if a is not None})
    return f"npz:{path}", x


def test_a_file_of_arrays_is_read_in_the_order_of_its_classes(tmp_path):
    name, x = of_arrays(tmp_path / "a.npz", classes=np.array(["a", "b", "c"]))
    images = data.load(name)
    assert images.y.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.classes == ("a", "b", "c")
    assert torch.equal(images.x[:, 0], torch.from_numpy(x[[1, 3, 2, 4, 0, 5]]))
    assert images.x_test.shape == (3, 1, 4, 5)
    assert len(data.load(name, per_class=1).y) == 3


@pytest.mark.parametrize("last", [False, True])
def test_channels_of_arrays_may_be_first_or_last_and_pixels_numbers(tmp_path, last):
    x = np.random.default_rng(0).random((6, 3, 4, 5), np.float32)
    given = x.transpose(0, 2, 3, 1) if last else x
    name, _ = of_arrays(tmp_path / "a.npz", x=given, x_test=given[:3])
    assert torch.equal(data.load(name).x, torch.from_numpy(x[[1, 3, 2, 4, 0, 5]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "must hold x, y, x_test and y_test; it lacks y_test"),
        ({"x": np.zeros((6, 4))}, r"x of .* must be images .*; got \(6, 4\) and \(6,\)"),
        ({"y": np.zeros(5, int)}, r"x of .* and y their labels; got \(6, 4, 5\) and \(5,\)"),
        ({"y_test": np.array([0, 1, 3])}, "y_test of .* must be whole numbers from 0 to 2"),
        ({"y": np.array([0, 1, 2, 0, 1, -1])}, "y of .* must be whole numbers from 0 to 2"),
        ({"y": np.array([0, 1, 2, 0, 1, 2.0])}, "y of .* must be whole numbers from 0 to"),
        ({"x": np.full((6, 4, 5), 255.0)}, r"numbers in \[0, 1\]; got numbers from 255 to 255"),
        ({"x": np.full((6, 4, 5), None)}, "is not an .npz file that can be read"),
    ],
)
def test_what_is_wrong_with_a_file_of_arrays_is_named(tmp_path, changes, message):
    name, _ = of_arrays(tmp_path / "a.npz", **changes)
    with pytest.raises(data.DataError, match=message):
        data.load(name)


def test_a_file_that_holds_no_arrays_is_an_error(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("no")
    for file in ("one.npy", "text.npz", "nothing.npz"):
        with pytest.raises(data.DataError, match="is not an .npz file that can be read"):
            data.load(f"npz:{tmp_path / file}")
