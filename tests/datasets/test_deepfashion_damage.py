"""create_from_deepfashion: damaged and wrong files, the command line, memory."""

import collections
import os
import shutil
import zipfile

import deepfashion_trees as trees
import numpy as np
import pytest
from deepfashion_trees import (
    append,
    convert,
    error_of,
    is_colour,
    items_of,
    source_of,
)

from training.datasets.building.inspect import read_images
from training.datasets.format.find_dataset import find_dataset
from training.datasets.format.label_file import read_labels
from training.datasets.sources.deepfashion import importer

DAMAGED_FILES = (
    b"",
    b"8\nimage_name label\n",
    b"a b c\n",
    b"\xff\xfea\0b\0\n\0",
    np.random.RandomState(1).bytes(3000),
)


def test_boxes_without_a_part_in_the_picture_are_skipped(tmp_path):
    root = trees.category(tmp_path / "tree")
    names = list(trees.category_names())
    boxes = [(8, 16, 8, 48), (40, 0, 80, 60), (32, 48, 8, 16), (20, 30, 400, 600)]
    rows = [(name, *trees.padded(box)) for name, box in zip(names, boxes, strict=False)]
    trees.table(root / "Anno_coarse/list_bbox.txt", "image_name  x_1  y_1  x_2  y_2", rows)
    images, _, manifest = convert(tmp_path, root, crop="bbox", margin=0.0)
    assert len(images) == 1
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert all("has no part in the picture" in reasons[name] for name in names[:3])
    missing = "the annotation files do not tell its box"
    assert [reasons[name] for name in names[4:]] == [missing] * 4


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("", "train/annos/000002.json"),
        ("[1, 2]", "train/annos/000002.json"),
        ("[" * 100_000, "train/annos/000002.json"),
        ("7", "train/annos/000002.json"),
        ('{"pair_id": 1, "source": "shop"}', "train/annos/000002.json"),
        (None, "train/annos/000002.json"),
        ('{"pair_id": 1, "item3": 5}', "train/annos/000002.json:item3"),
        ('{"pair_id": 1, "item1": {"category_id": 14}}', "train/annos/000002.json:item1"),
        (
            '{"pair_id": 1, "item1": {"category_id": 1, "bounding_box": [1, 2, "x", 4]}}',
            "train/annos/000002.json:item1",
        ),
        (
            '{"pair_id": Infinity, "item1": {"category_id": 1, "bounding_box": [1, 2, 3, 4]}}',
            "train/annos/000002.json:item1",
        ),
    ],
)
def test_damaged_annotations_of_deepfashion2_are_named(tmp_path, content, name):
    root = trees.deepfashion2(tmp_path)
    path = root / "train/annos/000002.json"
    path.unlink() if content is None else path.write_text(content)
    source = source_of(root)
    assert [item.label for item in source.items] == [8, 13]
    assert [entry["file"] for entry in source.skipped] == [name]


def test_what_a_benchmark_lacks_is_an_error_that_lists_what_it_has(tmp_path):
    roots = {name: write(tmp_path / name) for name, write in trees.TREES.items()}
    for name, options, words in [
        ("category", {"labels": "gender"}, "category, type, attribute:NAME, none"),
        ("category", {"labels": "colour"}, "--labels=colour"),
        ("category", {"labels": "type:x"}, "expected attribute:NAME"),
        ("category", {"labels": ""}, "category, type, attribute:NAME, none"),
        ("category", {"partition": "query"}, "has train, val, test"),
        ("category", {"views": ("front",)}, "--view"),
        (
            "inshop",
            {"labels": "attribute:x"},
            "category, gender/category, type, gender, color, view, item, none",
        ),
        ("inshop", {"partition": "val"}, "has train, query, gallery"),
        ("inshop", {"anno": "fine"}, "--anno=fine"),
        (
            "consumer2shop",
            {"labels": "gender"},
            "group/category, type, view, source, attribute:NAME",
        ),
        ("landmark", {"labels": "category"}, "labels by type, none"),
        ("landmark", {"categories": ("Tee",)}, "--category"),
        ("deepfashion2", {"labels": "type"}, "category, view, source, style, item, none"),
        ("multimodal", {"crop": "bbox"}, "no boxes"),
        ("multimodal", {"partition": "train"}, "no partitions"),
        ("inshop", {"benchmark": "instore"}, "--benchmark=instore"),
    ]:
        assert words in error_of(roots[name], **options)


def test_malformed_rows_are_named_and_the_others_are_read(tmp_path):
    root = trees.category(tmp_path)
    path = root / "Anno_coarse/list_category_img.txt"
    bad = ["img/a.jpg", "img/b.jpg x", "img/c.jpg 51", "img/d.jpg 0", "", "   "]
    twice = "img/Boxy_Tee/img_00000001.jpg 41"
    append(path, *bad, twice, "../../secret.jpg  41", "/etc/passwd 41", "img/\0.jpg 41")
    append(path, "img//etc/passwd 41")
    source = source_of(root)
    labels = [item.label for item in source.items]
    assert labels == [row[1] for row in trees.CATEGORY_ROWS] + [41] * 4
    assert [entry["file"] for entry in source.skipped] == [
        *(f"list_category_img.txt:{line}" for line in (11, 12, 13, 14)),
        "img/Boxy_Tee/img_00000001.jpg",
    ]
    _, labels, manifest = convert(tmp_path, root)
    assert len(labels) == 8
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    for name in ("../../secret.jpg", "/etc/passwd", "img/\0.jpg", "img//etc/passwd"):
        assert "leads out of the folder" in reasons[name]


def test_malformed_rows_of_the_retrieval_benchmarks(tmp_path):
    root = trees.inshop(tmp_path / "inshop")
    name = "img/MEN/Denim/id_00000001/01_1_front.jpg"
    append(
        root / "Eval/list_eval_partition.txt",
        f"{name} id_00000001 trained",
        f"{name} train",
        "no_path.jpg id_00000001 train",
    )
    append(
        root / "Anno/list_bbox_inshop.txt",
        f"{name} 4 1 008 016 032 048",
        f"{name} 1 008 016 032 048",
        f"{name} 1 1 008 016 032 nan",
    )
    source = source_of(root, crop="bbox", partition="train")
    assert len(list(source.items)) == 3
    assert [entry["file"] for entry in source.skipped] == [
        *(f"list_bbox_inshop.txt:{line}" for line in (11, 12, 13)),
        *(f"list_eval_partition.txt:{line}" for line in (11, 12)),
        "no_path.jpg",
    ]
    root = trees.consumer2shop(tmp_path / "consumer2shop")
    append(root / "Anno/list_bbox_consumer2shop.txt", "img/A/B/id_1/shop_01.jpg 1 3 1 2 3 4")
    append(root / "Eval/list_eval_partition.txt", "img/A/B/id_1/shop_01.jpg id_1 train")
    source = source_of(root, labels="view")
    assert len(list(source.items)) == 6
    assert [entry["reason"] for entry in source.skipped] == [
        "the annotation files do not tell its view"
    ]
    source = source_of(root, partition="train")
    assert len(list(source.items)) == 3
    assert [entry["file"] for entry in source.skipped] == ["list_eval_partition.txt:6"]


def test_many_rows_of_one_kind_are_counted(tmp_path):
    root = trees.category(tmp_path)
    path = root / "Anno_coarse/list_category_img.txt"
    append(path, *(f"img/{i}.jpg" for i in range(1000)))
    source = source_of(root)
    collections.deque(source.items, maxlen=0)
    assert len(source.skipped) == 100 and source.skipped.unnamed == 900


def test_wrong_and_missing_files(tmp_path):
    root = trees.category(tmp_path / "tree")
    anno = root / "Anno_coarse"
    for name, options in [
        ("list_category_cloth.txt", {}),
        ("list_category_img.txt", {}),
        ("list_bbox.txt", {"crop": "bbox"}),
        ("list_attr_cloth.txt", {"labels": "attribute:a-line"}),
        ("list_attr_img.txt", {"labels": "attribute:a-line"}),
        ("../Eval/list_eval_partition.txt", {"partition": "val"}),
    ]:
        base = os.path.basename(name)
        (anno / name).rename(anno / "kept")
        assert base in error_of(root, anno="coarse", **options)
        for content in DAMAGED_FILES:
            (anno / name).write_bytes(content)
            text = error_of(root, anno="coarse", **options)
            assert base in text and "has no row of" in text
        (anno / name).unlink()
        (anno / name).mkdir()
        assert "it is a folder" in error_of(root, anno="coarse", **options)
        (anno / name).rmdir()
        (anno / "kept").rename(anno / name)
    assert len(items_of(root, crop="bbox")) == 8


def test_a_damaged_row_of_a_table_of_names_would_shift_the_numbers(tmp_path):
    root = trees.category(tmp_path)
    for name, labels in (("list_category_cloth", "type"), ("list_attr_cloth", "attribute:Chiffon")):
        path = root / f"Anno_coarse/{name}.txt"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:3], lines[3].split()[0], *lines[4:]]) + "\n")
        text = error_of(root, labels=labels)
        assert f"line 4 of {path} is not a row of" in text


def test_folders_without_a_benchmark_or_pictures(tmp_path):
    assert "No such file" in error_of(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "holds no DeepFashion benchmark" in error_of(tmp_path / "empty")
    zips = tmp_path / "zips/Img"
    zips.mkdir(parents=True)
    with zipfile.ZipFile(zips / "img.zip", "w") as file:
        file.writestr("img/a.jpg", b"x")
    text = error_of(tmp_path / "zips")
    assert "img.zip" in text and "unpack" in text and "password" in text
    root = trees.category(tmp_path / "tree")
    shutil.rmtree(root / "Img")
    text = error_of(root)
    assert "none of the 8 pictures" in text and "unpack the zip files" in text


def test_one_missing_and_one_damaged_picture(tmp_path):
    root = trees.category(tmp_path / "tree")
    names = list(trees.category_names())
    os.remove(root / "Img" / names[0])
    (root / "Img" / names[1]).write_bytes(b"text")
    images, labels, manifest = convert(tmp_path, root)
    assert len(images) == len(labels) == 6 and manifest["label_ids"] == [3, 18, 33, 41]
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert reasons == {names[0]: "the file is missing", names[1]: "not an image"}


def test_the_command(tmp_path, run_script, tool):
    trees.inshop(tmp_path / "DeepFashion/In-shop Clothes Retrieval Benchmark")
    command = ["create_from_deepfashion", tmp_path / "out/foo", tmp_path / "DeepFashion"]
    options = ["--category=dresses,Tees_Tanks", "--view=front,side", "--crop=bbox", "--margin=0"]
    options += ["--labels=view", "--resolution=16", "--shuffle=0"]
    done = run_script(["dataset_tool.py", *command, *options])
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "3 images of 16x16, 2 classes" in done.stdout
    assert done.stdout.splitlines()[-1] == importer.LICENCE
    dataset = find_dataset(str(tmp_path / "out/foo"))
    images = list(read_images(dataset))
    assert [is_colour(image, trees.colour(i)) for image, i in zip(images, (0, 1, 6), strict=True)]
    assert read_labels(dataset).argmax(1).tolist() == [0, 1, 0]

    assert "example: dataset_tool.py create_from_deepfashion" in tool(command[0], "--help")[1]
    command[1] = tmp_path / "new"
    for args, words in [
        (["--benchmark=shop"], "--benchmark"),
        (["--benchmark=landmark"], "does not hold the Fashion Landmark Detection"),
        (["--labels=attribute:x"], "--labels=attribute"),
        (["--partition=val"], "--partition=val"),
        (["--partition=x"], "--partition"),
        (["--crop=box"], "--crop"),
        (["--margin=-1", "--crop=bbox"], "--margin"),
        (["--category=,"], "--category"),
        (["--category=Dresss"], "did you mean Dresses?"),
        (["--category=Dresses", "--view=back"], "none of the 8 pictures has --category=Dresses"),
        (["--resolution=100"], "--resolution"),
    ]:
        code, out, err = tool(*command, *args)
        assert code == 2 and out == "" and err.count("\n") == 1 and words in err, (args, err)
    assert not (tmp_path / "new").exists()


MEMORY = """
import collections, resource, sys
from training.datasets.sources.deepfashion import importer
peaks = []
for root in sys.argv[1:]:
    source = importer.deepfashion_source(root, partition="train")
    collections.deque(source.items, maxlen=0)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(len(source.skipped), peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_rows(tmp_path, run_script):
    for folder, extra in (("small", 0), ("large", 200_000)):
        root = trees.category(tmp_path / folder)
        names = [f"img/Some_Quite_Long_Folder_Name_{i // 40}/img_{i:08}.jpg" for i in range(extra)]
        append(root / "Anno_coarse/list_category_img.txt", *(f"{name}    41" for name in names))
        # Every second picture has no partition, and is left out.
        partitions = (f"{name}   train" for name in names[::2])
        append(root / "Eval/list_eval_partition.txt", *partitions)
    done = run_script(["-c", MEMORY, tmp_path / "small", tmp_path / "large"])
    assert done.returncode == 0, done.stderr
    skipped, kilobytes = map(int, done.stdout.split())
    assert skipped == 100 and kilobytes < 20_000


def test_links_that_lead_back_and_odd_entries(tmp_path):
    root = trees.category(tmp_path / "a/tree")
    for i in range(40):
        os.symlink(".", root / f"img-{i}")
        os.symlink("..", tmp_path / f"a/up-{i}")
    os.symlink("img-loop", root / "img-loop")
    os.symlink("list_bbox.txt", root / "Anno_coarse/list_joints.txt")
    os.mkfifo(root / "Img/img/img")
    (root / "Img/img/Boxy_Tee/img_00000001.jpg").unlink()
    os.mkfifo(root / "Img/img/Boxy_Tee/img_00000001.jpg")
    images, _, manifest = convert(tmp_path, tmp_path / "a")
    assert len(images) == 7
    assert [entry["reason"] for entry in manifest["skipped"]] == ["the file is missing"]
    text = error_of(tmp_path / "a", categories=("x" * 5000,))
    assert "Anorak" in text


def test_messages_stay_short(tmp_path):
    root = trees.inshop(tmp_path)
    path = root / "Eval/list_eval_partition.txt"
    rows = [f"img/MEN/{'long' * 20}{i}/id_1/0{i}_1_front.jpg id_1 train" for i in range(500)]
    append(path, *rows, f"img/MEN/{'x' * 5000}/id_2/a.jpg id_2 query")
    assert len(error_of(root, categories=("none",))) < 2000
    (root / "img").rename(root / "gone")
    text = path.read_text(encoding="utf-8").splitlines()
    path.write_text(text[-1], encoding="utf-8")
    assert len(error_of(root)) < 1000 and "none of the 1 pictures" in error_of(root)
