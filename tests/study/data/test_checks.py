"""What is said about a data set: made faults are found, and on the real CIFAR-10 the published duplicates."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import data
from study.data import DataOptions, Dataset, Split, checks, near_duplicates, test_set
from study.data.__main__ import main, sentences
from study.data.sources import cifar10, records
from study.errors import DataError

# Test and training images of pairs that ciFAIR's authors judged by eye to be near duplicates
# (https://github.com/cvjena/cifair, meta/duplicates_cifar10.csv; Barz and Denzler 2020, arXiv:1902.00423).
PUBLISHED = [(6611, 49007), (159, 25768), (7293, 9640)]


@pytest.fixture(scope="module")
def photographs(cifar10_dir: Path) -> Split:
    """2,000 real training images."""
    every = records.read(cifar10_dir, cifar10.TRAINING)
    return Split(every.images[:2000], every.labels[:2000])


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=quality)
    return np.asarray(Image.open(encoded))


def cropped(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image[1:31, 1:31]).resize((32, 32), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("change", "recall"),
    [
        (lambda image: recompressed(image, 50), 0.98),
        (lambda image: recompressed(image, 20), 0.9),
        (lambda image: (image * 0.6).astype(np.uint8), 0.98),
        (lambda image: np.clip(image * 1.3, 0, 255).astype(np.uint8), 0.97),
        (cropped, 0.95),
        (lambda image: np.roll(image, (2, -2), (0, 1)), 0.9),
    ],
)
def test_changed_copies_are_found_among_real_images(photographs: Split, change: object, recall: float) -> None:
    copies = np.stack([change(image) for image in photographs.images[:200]])  # type: ignore[operator]
    pairs = near_duplicates.between(copies, photographs.images)
    found = {(a, b) for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True) if a == b}
    assert len(found) >= recall * 200


def test_different_images_are_not_near_duplicates(photographs: Split) -> None:
    pairs = near_duplicates.within(photographs.images)
    assert len(pairs) <= 10  # of 1,999,000; the first of them is real


def test_pairs_are_sorted_and_each_is_named_once(photographs: Split) -> None:
    doubled = np.concatenate([photographs.images[:50], photographs.images[:50]])
    pairs = near_duplicates.within(doubled)
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) >= {(a, a + 50) for a in range(50)}
    assert (pairs.first < pairs.second).all()
    assert (np.diff(pairs.similarity) <= 0).all()


def test_published_near_duplicates_of_the_real_test_set_are_found(cifar10_dir: Path) -> None:
    training, test = (records.read(cifar10_dir, file).images for file in (cifar10.TRAINING, cifar10.TEST))
    of_test, of_training = (list(indices) for indices in zip(*PUBLISHED, strict=True))
    others = np.arange(0, 50_000, 25)
    rows = np.concatenate([of_training, others])
    pairs = near_duplicates.between(test[of_test], training[rows])
    assert {(0, 0), (1, 1), (2, 2)} <= set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.fixture
def faulty(photographs: Split, tmp_path: Path) -> Dataset:
    """300 training images of two classes with faults planted at the end, and 50 test images, three of them leaked."""
    images, labels = photographs.images[:300].copy(), np.arange(300) % 2
    images[290], labels[290] = images[4], labels[4]  # equal
    images[291], labels[291] = images[5], 1 - labels[5]  # equal, with another label
    images[292] = (images[6] * 0.7).astype(np.uint8)  # nearly equal
    images[293] = 128  # constant
    test_images, test_labels = photographs.images[1000:1050].copy(), np.arange(50) % 2
    test_images[10], test_labels[10] = images[20], labels[20]
    test_images[11], test_labels[11] = images[21], 1 - labels[21]
    test_images[12] = recompressed(images[22], 60)
    test_images[13] = 7
    return data.from_arrays((images, labels), (test_images, test_labels), options=DataOptions(tmp_path))


def test_each_planted_fault_is_found_and_nothing_else(faulty: Dataset) -> None:
    findings = checks.inspect(faulty)
    assert findings.equal == [[4, 290], [5, 291]]
    assert findings.conflicting == [[5, 291]]
    assert (findings.near.first.tolist(), findings.near.second.tolist()) == ([6], [292])
    assert findings.constant == [293]
    assert findings.test.constant == [13]
    assert findings.test.leaked == [10, 11, 12]
    assert (findings.test.equal_leaks, findings.test.other_label) == (2, 1)
    assert [sum(own) for own in findings.counts.values()] == [271, 29]  # of 151 and 149


def test_looking_for_leaks_is_no_opening_of_the_test_set(faulty: Dataset) -> None:
    checks.inspect(faulty)
    assert test_set.count_openings(faulty) == 0


def test_imbalance_is_said_with_what_to_look_at(photographs: Split, tmp_path: Path) -> None:
    labels = (np.arange(300) % 6 == 0).astype(int)
    dataset = data.from_arrays((photographs.images[:300], labels), options=DataOptions(tmp_path))
    assert sentences(checks.inspect(dataset))[-1] == (
        "Unequal classes: 200 in the largest class, 5.0 times as many as in the smallest: accuracy can mislead, look "
        "at balanced accuracy"
    )


def test_what_was_found_is_kept_for_the_same_images_and_searched_for_anew_in_others(
    faulty: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = checks.inspect(faulty)
    monkeypatch.setattr(near_duplicates, "within", None)  # a second search would fail
    again = checks.inspect(faulty)
    assert checks.data_file(again) == checks.data_file(first)
    assert again.as_dict() == first.as_dict()
    labels = faulty.training.labels.copy()
    labels[0] = 1 - labels[0]
    with pytest.raises(TypeError):
        checks.inspect(replace(faulty, training=replace(faulty.training, labels=labels)))


def test_what_was_kept_and_is_damaged_is_searched_for_anew(faulty: Dataset, tmp_path: Path) -> None:
    first = checks.data_file(checks.inspect(faulty))
    (kept,) = (tmp_path / "checks").iterdir()
    kept.write_text("{")
    assert checks.data_file(checks.inspect(faulty)) == first


def test_without_the_search_for_near_duplicates_equal_images_are_found(faulty: Dataset) -> None:
    findings = checks.inspect(faulty, near=False)
    assert findings.equal == [[4, 290], [5, 291]]
    assert findings.test.leaked == [10, 11]
    assert (findings.test.equal_leaks, findings.test.other_label) == (2, 1)
    assert [each.name for each in checks.remarks(findings) if each.count][-2] == (
        "test images that are also in training, equal"
    )


def test_noisy_images_of_a_few_patterns_and_tiny_digits_raise_few_false_alarms(
    synthetic_dir: Path, tmp_path: Path
) -> None:
    synthetic = checks.inspect(data.load("synthetic", DataOptions(synthetic_dir)))
    assert len(synthetic.test.leaked) <= 5  # of 500
    assert len(synthetic.near) <= 5
    digits = checks.inspect(data.load("digits", DataOptions(tmp_path)))
    assert len(digits.test.leaked) <= 27  # 3% of 899


def test_what_a_run_keeps_has_the_counts_the_findings_and_the_leaks(faulty: Dataset) -> None:
    content = checks.data_file(checks.inspect(faulty))
    assert {part: sum(of_class.values()) for part, of_class in content["counts"].items()} == {
        "training": 271, "validation": 29, "test": 50,
    }  # fmt: skip
    assert content["leaks"] == {"count": 3, "tests": 50, "equal": 2, "other_label": 1}
    assert {each["name"]: each["count"] for each in content["findings"]} == {
        "equal images in training": 4,
        "equal images with different labels": 2,
        "near duplicates in training": 2,
        "test images that are also in training, equal or nearly": 3,
        "images of one colour": 2,
    }


def test_the_command_prints_the_counts_and_writes_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["digits", "--data-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "digits: 10 classes, 8 x 8 pixels, grey" in printed
    assert "all" in printed
    with Image.open(tmp_path / "pictures" / "digits" / "classes.png") as picture:
        assert picture.height == 10 * 66


def test_json_is_one_object_and_no_picture_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digits", "--data-dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size"] == [8, 8, 1]
    assert found["allows_flip"] is False
    assert sum(own["test"] for own in found["classes"].values()) == 899
    assert not (tmp_path / "pictures").exists()


def test_a_data_set_that_is_not_there_ends_the_command_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "nothing")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("study.data: data set ")
    assert error.count("\n") == 1


def test_without_a_data_set_the_command_lists_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.split() == list(data.DATASETS)


def test_leaking_images_are_named_by_their_files_in_pairs(
    photographs: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, numbers in (("train", range(60)), ("test", range(100, 120))):
        for number in numbers:
            path = tmp_path / "pets" / part / ("cat" if number % 2 else "dog") / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photographs.images[number]).save(path)
    Image.fromarray(photographs.images[7]).save(tmp_path / "pets" / "test" / "dog" / "photo.png")
    Image.fromarray(np.full((32, 32, 3), 9, np.uint8)).save(tmp_path / "pets" / "test" / "cat" / "grey.png")
    command = [str(tmp_path / "pets"), "--data-dir", str(tmp_path / "data")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "another label (such as test/dog/photo.png = train/cat/007.png)" in printed
    assert "(0 in training, 1 in the test set) (such as test/cat/grey.png)" in printed
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["test_also_in_training"]["pairs"] == [["test/dog/photo.png", "train/cat/007.png"]]
    assert found["test_constant"] == {"count": 1, "examples": ["test/cat/grey.png"]}


def test_leaking_images_without_names_are_numbered_in_pairs(faulty: Dataset, tmp_path: Path) -> None:
    findings = checks.inspect(faulty)
    assert {("test image 10", "training image 20"), ("test image 11", "training image 21")} < set(
        map(tuple, findings.leaks_in_words())
    )
    test_set.write_picture(findings, tmp_path / "leaks.png")
    assert (tmp_path / "leaks.png").stat().st_size > 0


def test_pictures_that_cannot_be_written_are_one_line(faulty: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        checks.write_pictures(checks.inspect(faulty), tmp_path / "file")
