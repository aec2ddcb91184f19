"""Small files in the official formats of the data sets that docs/data.md speaks of, where it says they lie."""

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

_COLOURS = ["red", "green", "blue", "white", "black", "orange", "purple", "yellow"]
_SHAPES = ["square", "circle", "triangle"]


def picture(number: int) -> bytes:
    """A JPEG that differs from number to number."""
    image = Image.new("RGB", (48, 36), _COLOURS[number % 8])
    draw = ImageDraw.Draw(image)
    draw.rectangle((number % 30, 4, number % 30 + 12, 20), fill=_COLOURS[(number // 8 + 3) % 8])
    draw.line((0, number % 36, 47, 35 - number % 36), fill="gray", width=2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def caption(number: int) -> str:
    """What a picture shows, more or less."""
    return f"a {_SHAPES[number % 3]} and a line on a {_COLOURS[number % 8]} ground, number {number}"


def put(path: Path, number: int) -> None:
    """Write a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(number))


def put_json(path: Path, content: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def put_lines(path: Path, lines: list[Any]) -> None:
    """Write lines; what is no text as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def write_coco(folder: Path) -> None:
    """COCO 2017, its Karpathy splits with 2014's names, and VQA v2 on it."""
    for split, numbers in (("train2017", range(1, 13)), ("val2017", range(13, 17))):
        images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": 48, "height": 36} for n in numbers]
        annotations = [{"id": 10 * n + i, "image_id": n, "caption": caption(n)} for n in numbers for i in range(2)]
        for number in numbers:
            put(folder / "coco" / split / f"{number:012d}.jpg", number)
        put_json(
            folder / "annotations" / f"captions_{split}.json",
            {"info": {}, "images": images, "licenses": [], "annotations": annotations},
        )
    entries = []
    for number in range(1, 17):
        part, split = ("train2014", "train") if number < 12 else ("val2014", "val" if number < 14 else "test")
        name = f"COCO_{part}_{number:012d}.jpg"
        put(folder / "coco" / part / name, number)
        sentences = [{"raw": caption(number), "tokens": [], "imgid": number, "sentid": number}]
        entries.append(
            {
                "filepath": part,
                "filename": name,
                "cocoid": number,
                "split": split,
                "imgid": number,
                "sentences": sentences,
            }
        )
    put_json(folder / "dataset_coco.json", {"dataset": "coco", "images": entries})
    questions = [{"image_id": n, "question": "what is on the ground?", "question_id": 10 * n} for n in range(1, 9)]
    answers = [{"answer": "line", "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)]
    annotations = [
        {"question_id": 10 * n, "image_id": n, "question_type": "what is", "answer_type": "other", "answers": answers,
         "multiple_choice_answer": "line"}
        for n in range(1, 9)
    ]  # fmt: skip
    head = {"info": {}, "data_subtype": "train2014", "data_type": "mscoco", "license": {}}
    put_json(folder / "v2_OpenEnded_mscoco_train2014_questions.json", {**head, "questions": questions})
    put_json(folder / "v2_mscoco_train2014_annotations.json", {**head, "annotations": annotations})


def write_visual_genome(folder: Path) -> None:
    """Visual Genome: ten photos, of which two are in COCO's held-out splits."""
    data, regions = [], []
    for number in range(1, 11):
        put(folder / "visual-genome" / "VG_100K" / f"{number}.jpg", 100 + number)
        url = f"https://cs.stanford.edu/people/rak248/VG_100K/{number}.jpg"
        coco_id = {1: 13, 2: 14}.get(number)
        data.append({"image_id": number, "url": url, "width": 48, "height": 36, "coco_id": coco_id, "flickr_id": None})
        found = [
            {"region_id": 10 * number + i, "image_id": number, "phrase": caption(100 + number), "x": 0, "y": 0,
             "width": 9, "height": 9}
            for i in range(2)
        ]  # fmt: skip
        regions.append({"id": number, "regions": found})
    put_json(folder / "image_data.json", data)
    put_json(folder / "region_descriptions.json", regions)


def write_web_sets(folder: Path) -> None:
    """SBU, CC3M as img2dataset's tars and as a list with a folder."""
    urls = [f"http://static.flickr.com/2723/438520{n:04d}_b604254769.jpg" for n in range(8)]
    for number, url in enumerate(urls):
        put(folder / "sbu" / url.rpartition("/")[2], 200 + number)
    put_json(
        folder / "sbu-captions-all.json",
        {"image_urls": urls, "captions": [caption(200 + n) for n in range(8)], "user_ids": []},
    )
    for shard in range(4):
        (folder / "cc3m").mkdir(exist_ok=True)
        (folder / "moved" / "cc3m").mkdir(parents=True, exist_ok=True)
        path = folder / "cc3m" / f"{shard:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(8):
                key, text = f"{shard:05d}{number:04d}", caption(300 + 8 * shard + number)
                attributes = {"caption": text, "url": "http://example.org/x.jpg", "key": key, "status": "success"}
                contents = {
                    "jpg": picture(300 + 8 * shard + number),
                    "txt": text.encode(),
                    "json": json.dumps(attributes).encode(),
                }
                for extension, content in contents.items():
                    member = tarfile.TarInfo(f"{key}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        (folder / "moved" / "cc3m" / path.name).write_bytes(path.read_bytes())
    for number in range(8):
        put(folder / "cc3m-images" / f"{number:08d}.jpg", 400 + number)
    put_lines(folder / "Train_GCC-training.tsv", [f"{caption(400 + n)}\thttp://example.org/{n}.jpg" for n in range(10)])


def write_flickr30k(folder: Path) -> None:
    """Flickr30k, and SNLI-VE on its photos."""
    lines, splits = ["image_name| comment_number| comment"], []
    for number in range(12):
        name = f"{1000092795 + number}.jpg"
        put(folder / "flickr30k-images" / name, 500 + number)
        lines += [f"{name}| {i}| {caption(500 + number)} ." for i in range(5)]
        splits.append(f"{name}\t{'train' if number < 8 else 'val' if number < 10 else 'test'}")
    put_lines(folder / "results.csv", lines)
    put_lines(folder / "flickr30k-splits.tsv", splits)
    for split, numbers in (("train", range(8)), ("dev", range(8, 10))):
        entries = [
            {"Flickr30K_ID": str(1000092795 + n), "gold_label": "neutral", "sentence1": caption(500 + n),
             "sentence2": "there is a line", "pairID": f"{n}.jpg#0r1n", "captionID": f"{n}.jpg#0"}
            for n in numbers
        ]  # fmt: skip
        put_lines(folder / f"snli_ve_{split}.jsonl", entries)


def write_nlvr2(folder: Path) -> None:
    """NLVR2: two photos a statement."""
    for split, directory in (("train", "38/"), ("dev", "")):
        entries = []
        for number in range(6):
            identifier = f"{split}-{number}-0"
            for side in range(2):
                name = f"{identifier}-img{side}.png"
                put(folder / "nlvr2" / "images" / split / f"{directory}{name}", 600 + 2 * number + side)
            entry = {"sentence": "both pictures have a line", "identifier": f"{identifier}-0", "label": "True"}
            entries.append({**entry, "directory": 38} if directory else entry)
        put_lines(folder / "nlvr2" / f"{split}.json", entries)


def write_tables(folder: Path) -> None:
    """JSON Lines, CSV, Parquet with images, TSV with answers, and a folder with text files."""
    rows = [{"image": f"{n}.jpg", "caption": [caption(700 + n), caption(701 + n)]} for n in range(10)]
    for number in range(10):
        put(folder / "images" / f"{number}.jpg", 700 + number)
        split = "train" if number < 7 else "val"
        put(folder / "my-photos" / split / f"{number}.jpg", 700 + number)
        (folder / "my-photos" / split / f"{number}.txt").write_text(f"{caption(700 + number)}\na second line\n")
    put_lines(folder / "train.jsonl", rows[:7])
    put_lines(folder / "val.jsonl", rows[7:])
    with open(folder / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "text", "split"])
        writer.writerows([row["image"], row["caption"][0], "train" if n < 7 else "val"] for n, row in enumerate(rows))
    put_lines(folder / "questions.tsv", [f"{n}.jpg\twhat is number {n}\tline" for n in range(10)])
    (folder / "parquet").mkdir()
    table = {"image": [picture(700 + n) for n in range(10)], "caption": [caption(700 + n) for n in range(10)]}
    pq.write_table(pa.table(table), folder / "parquet" / "train-00000.parquet")


def write_all(folder: Path) -> None:
    """Everything."""
    write_coco(folder)
    write_visual_genome(folder)
    write_web_sets(folder)
    write_flickr30k(folder)
    write_nlvr2(folder)
    write_tables(folder)
