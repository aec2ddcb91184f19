"""Readers of raw sources, as fuzz targets."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.folders import Target

Reader = Callable[..., Iterable[Any]]


def _target(folder: Path, names: list[str], readers: list[Reader]) -> Target:
    """Readers that are called with a path, a rejection log and a scratch folder."""
    from data_prep.records import PrepError, RejectionLog

    scratch = folder / "scratch"
    scratch.mkdir()

    def read(form: int, data: bytes) -> None:
        path = folder / names[form]
        path.write_bytes(data)
        with RejectionLog(folder / "rejected.jsonl", "position") as log:
            deque(readers[form](str(path), log, scratch), maxlen=0)

    return read, (PrepError,), len(readers), []


def tar(folder: Path) -> Target:
    """Archives of webdataset, as they are and with a field for the split and labels."""
    from data_prep.sources.webdataset_samples import SampleOptions, read_archive

    labelled = SampleOptions(split_field="split", fields=("label", "answers"))
    readers = [
        lambda path, log, _, options=options: read_archive(path, "train", log, options)
        for options in (SampleOptions(), labelled)
    ]
    return _target(folder, ["a.tar", "b.tar"], readers)


def tables(folder: Path) -> Target:
    """JSON lines, CSV, and lines with tabs: captions, splits, addresses."""
    from data_prep.sources.cc import read_cc
    from data_prep.sources.csv_records import csv_records
    from data_prep.sources.flickr30k import read_flickr30k
    from data_prep.sources.json_lines import json_lines
    from data_prep.sources.nlvr2 import read_nlvr2
    from data_prep.sources.records_to_rows import Columns
    from data_prep.sources.sbu import read_sbu_text
    from data_prep.sources.snli_ve import read_snli_ve
    from data_prep.sources.tables import read_table
    from data_prep.sources.tsv import read_tsv
    from data_prep.sources.url_names import UrlNames

    captions = folder / "captions.txt"
    captions.write_text("1.jpg\ta dog\n2.jpg\ta cat\n")
    columns = Columns("image", ("caption",), "split", ("label",))
    plain = Columns("image", ("caption",), None, ())
    names = UrlNames("url-basename", ".jpg", 8)
    readers: list[Reader] = [
        lambda path, log, scratch: read_table(json_lines, [("train", path)], columns, log, scratch),
        lambda path, log, scratch: read_table(partial(csv_records, ",", plain), [("train", path)], plain, log, scratch),
        lambda path, log, scratch: read_tsv(path, None, "train", [], log, scratch),
        lambda path, log, scratch: read_tsv(str(captions), path, "train", [], log, scratch),
        lambda path, log, scratch: read_cc([("train", path)], [""], names, log, scratch),
        lambda path, log, scratch: read_flickr30k(path, None, "train", log, scratch),
        lambda path, log, scratch: read_nlvr2([("train", path)], str(folder), None, log, scratch),
        lambda path, log, scratch: read_snli_ve([("train", path)], log, scratch),
        lambda path, log, scratch: read_sbu_text(path, str(captions), "train", names, log, scratch),
    ]
    return _target(folder, ["table"] * len(readers), readers)


def json_sources(folder: Path) -> Target:
    """Karpathy's JSON and the official files of data sets."""
    from data_prep.sources.coco import read_coco
    from data_prep.sources.karpathy import read_karpathy
    from data_prep.sources.sbu import read_sbu_json
    from data_prep.sources.url_names import UrlNames
    from data_prep.sources.visual_genome import read_visual_genome
    from data_prep.sources.vqa import read_vqa

    names = UrlNames("url-basename", ".jpg", 8)
    questions, images = folder / "questions.json", folder / "image_data.json"
    asked = '{"image_id": 1, "question_id": 10, "question": "is it?"}'
    questions.write_text(f'{{"data_subtype": "train2014", "questions": [{asked}]}}')
    images.write_text('[{"image_id": 1, "url": "https://x/VG_100K/1.jpg", "coco_id": null}]')
    readers: list[Reader] = [
        read_karpathy,
        lambda path, log, scratch: read_coco([("train", path)], {}, log, scratch),
        lambda path, log, scratch: read_vqa([("train", path)], [], str(folder), None, log, scratch),
        lambda path, log, scratch: read_vqa(
            [("train", str(questions))], [("train", path)], str(folder), None, log, scratch
        ),
        lambda path, log, scratch: read_visual_genome(path, str(images), "train", None, log, scratch),
        lambda path, log, scratch: read_visual_genome(str(images), path, "train", None, log, scratch),
        lambda path, log, scratch: read_sbu_json(path, "train", names, log, scratch),
    ]
    return _target(folder, ["source.json"] * len(readers), readers)


def parquet(folder: Path) -> Target:
    """Tables of paths, tables of images, and img2dataset's table beside an archive."""
    from data_prep.sources.img2dataset_failures import list_failed_downloads
    from data_prep.sources.parquet import path_records, read_parquet_images
    from data_prep.sources.records_to_rows import Columns
    from data_prep.sources.tables import read_table

    columns = Columns("image", ("caption",), None, ())
    labelled = Columns("image", ("caption",), "split", ("label",))
    readers: list[Reader] = [
        lambda path, log, scratch: read_table(
            partial(path_records, labelled), [("train", path)], labelled, log, scratch
        ),
        lambda path, log, scratch: read_parquet_images(columns, path, "train", log),
        lambda path, log, scratch: [list_failed_downloads(path.replace(".parquet", ".tar"), log)],
    ]
    return _target(folder, ["table.parquet"] * len(readers), readers)


def exclusion(folder: Path) -> Target:
    """What --exclude names: a file of ids or Karpathy's JSON, the manifest and the hashes of a data-bin."""
    from data_prep.exclusion_specs import databin_hashes, parse_specs, spec_ids
    from mvlm_plugin.data.databin import DataBinError
    from tests.helpers import write_databin

    databin = write_databin(folder / "databin", images=3)
    manifest = (databin / "manifest.json").read_bytes()

    def ids(path: str, log: Any, scratch: Path) -> Iterable[Any]:
        return spec_ids(parse_specs([path])[0])

    def hashes(path: str, log: Any, scratch: Path) -> Iterable[Any]:
        yield from databin_hashes(parse_specs([str(databin)])[0])

    names = ["ids.txt", "databin/manifest.json", "databin/valid.hashes.npy"]
    read, errors, forms, _ = _target(folder, names, [ids, hashes, hashes])

    def read_whole(form: int, data: bytes) -> None:
        (databin / "manifest.json").write_bytes(manifest)
        read(form, data)

    return read_whole, (*errors, DataBinError), forms, []
