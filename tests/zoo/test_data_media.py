"""Folders, saved data sets and path columns: what becomes of files, and which paths are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headstock.data import Dataset, Table, read_dataset, read_table
from headstock.data.columns import choose_columns
from headstock.data.dataset import data_digest
from headstock.digest import digest_bytes
from headstock.errors import FailedPrecondition, InvalidInput


def put(root: Path, *files: str) -> Path:
    """Files whose content is their own path."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode())
    return root


def images(table: Table, **told: str) -> Dataset:
    return read_dataset(table, choose_columns(table, ["image", "label"], told), ["image"], ["label"])


# ------------------------------------------------------------------------------------------------ folders
def test_a_folder_per_class_is_a_table_of_paths_and_labels(tmp_path: Path) -> None:
    """In the order of paths, whatever the file system's."""
    table = read_table(put(tmp_path / "pets", "dog/b.jpg", "cat/2.PNG", "cat/1.png", ".cache/x.png", "cat/.hidden.png"))
    assert table.name == "pets"
    assert table.columns == {"image": ["cat/1.png", "cat/2.PNG", "dog/b.jpg"], "label": ["cat", "cat", "dog"]}
    assert table.where([0]) == "file 'cat/1.png'"
    assert images(table).inputs.read([2, 0]) == ([b"dog/b.jpg", b"cat/1.png"],)


def test_a_folder_of_recordings_has_the_column_audio(tmp_path: Path) -> None:
    """WAV and FLAC."""
    table = read_table(put(tmp_path, "yes/1.wav", "no/1.flac"))
    assert table.columns["audio"] == ["no/1.flac", "yes/1.wav"]


def test_parts_above_the_classes_become_a_split_column(tmp_path: Path) -> None:
    """As many published image sets are laid out."""
    table = read_table(put(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png"))
    assert table.columns["label"] == ["a", "b", "a"]
    assert table.columns["split"] == ["train", "train", "val"]
    assert table.split_column == "split"


def test_a_class_called_test_is_a_class_when_others_are_not_parts(tmp_path: Path) -> None:
    """`test` beside `exam` names a class."""
    table = read_table(put(tmp_path, "test/1.png", "exam/2.png"))
    assert table.columns["label"] == ["exam", "test"]
    assert table.split_column is None


def test_a_good_folder_alone_is_read_for_inspection(tmp_path: Path) -> None:
    """Whether one class is enough is for the head type to say."""
    table = read_table(put(tmp_path, "good/1.png", "good/2.png"))
    columns = {"image": "image", "label": "label"}
    assert read_dataset(table, columns, ["image"], ["label"], optional=["label"]).columns["label"] == ("good", "good")
    with pytest.raises(InvalidInput, match="one class only, 'good'"):
        read_dataset(table, columns, ["image"], ["label"])


def test_the_digest_of_a_folder_covers_paths_and_contents_and_nothing_else(tmp_path: Path) -> None:
    """Not its name, and not files that are no images."""
    first = read_table(put(tmp_path / "one", "a/1.png", "b/2.png")).sha256
    same = put(tmp_path / "two", "a/1.png", "b/2.png")
    put(same, "notes.txt")
    assert read_table(same).sha256 == first
    (same / "a" / "1.png").write_bytes(b"other")
    changed = read_table(same).sha256
    assert changed != first
    (same / "a" / "1.png").rename(same / "a" / "3.png")
    assert read_table(same).sha256 not in (first, changed)


def test_other_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    """BMP is an image that no preprocessing reads."""
    table = read_table(put(tmp_path, "a/1.png", "a/2.bmp", "b/3.png", "Thumbs.db"))
    assert table.notes == ("passed over 2 files that are no image: 1 x .bmp, 1 x .db",)


@pytest.mark.parametrize(
    "files, said, fix",
    [
        (["a/1.png", "b/1.wav"], "1 image files and 1 audio files", "one kind"),
        (["1.png", "2.png"], "2 files of 'data' stand in no class folder, e.g. '1.png'", "folder named after"),
        (["a/1.txt"], "no images or recordings", "one subfolder per class"),
        (["a/x.txt", "meta.csv"], "no images or recordings", "--data data/meta.csv"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path, files: list[str], said: str, fix: str) -> None:
    """And what to do."""
    with pytest.raises(InvalidInput) as caught:
        read_table(put(tmp_path / "data", *files))
    assert said in caught.value.message
    assert fix in str(caught.value.fix)


# ------------------------------------------------------------------------------------------------ path columns
def listed(root: Path, *rows: str, header: str = "path,label") -> Table:
    (root / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    return read_table(root / "list.csv")


def test_paths_are_relative_to_the_table_and_known_by_content(tmp_path: Path) -> None:
    """The feature cache meets the same bytes under any name."""
    put(tmp_path, "img/1.png", "img/2.png")
    dataset = images(listed(tmp_path, "img/1.png,a", "img/2.png,b"))
    assert dataset.samples == (digest_bytes(b"img/1.png"), digest_bytes(b"img/2.png"))


@pytest.mark.parametrize("path", ["../secret.png", "img/../../secret.png", "/etc/hostname", "link.png"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    """By dots, by root or by a link."""
    root = put(tmp_path / "data", "img/1.png")
    put(tmp_path, "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InvalidInput, match=r"at line 3: .* leads out of the data's folder"):
        images(listed(root, "img/1.png,a", f"{path},b"))


def test_all_missing_files_are_told_together(tmp_path: Path) -> None:
    """With their lines."""
    put(tmp_path, "1.png")
    with pytest.raises(InvalidInput, match=r"at lines 3, 4: '2\.png' is not there"):
        images(listed(tmp_path, "1.png,a", "2.png,b", "3.png,a"))


def test_a_file_that_changes_while_it_is_used_stops_the_run(tmp_path: Path) -> None:
    """Its features would be kept under the digest of what it was."""
    put(tmp_path, "1.png", "2.png")
    dataset = images(listed(tmp_path, "1.png,a", "2.png,b"))
    (tmp_path / "1.png").write_bytes(b"new")
    with pytest.raises(FailedPrecondition, match=r"'1\.png' was changed"):
        dataset.inputs.read([0])
    (tmp_path / "2.png").unlink()
    with pytest.raises(FailedPrecondition, match="cannot be read any more"):
        dataset.inputs.read([1])


def test_the_digest_of_the_data_covers_the_files_of_a_path_column(tmp_path: Path) -> None:
    """Of text tables it stays that of the file."""
    put(tmp_path, "1.png", "2.png")
    columns = {"image": "path", "label": "label"}
    before = data_digest(listed(tmp_path, "1.png,a", "2.png,b"), columns)
    assert before == data_digest(listed(tmp_path, "1.png,a", "2.png,b"), columns)
    (tmp_path / "1.png").write_bytes(b"new")
    table = listed(tmp_path, "1.png,a", "2.png,b")
    assert data_digest(table, columns) != before
    assert data_digest(table, {"text": "path", "label": "label"}) == table.sha256


@pytest.mark.parametrize(
    "header, roles, expected",
    [
        ("wav_filename,wav_filesize,transcript", ["audio", "transcript"], ["wav_filename", "transcript"]),
        ("path,text", ["audio", "transcript"], ["path", "text"]),
        ("audio_filepath,text,duration", ["audio", "transcript"], ["audio_filepath", "text"]),
        ("file_name,label", ["image", "label"], ["file_name", "label"]),
        ("question,context,answer_start,answer", ["question", "context", "answer"], ["question", "context", "answer"]),
        ("tokens,ner_tags", ["text", "spans"], ["tokens", "ner_tags"]),
        ("review,labels", ["text", "labels"], ["review", "labels"]),
        ("text,score", ["text", "target"], ["text", "score"]),
    ],
)
def test_usual_headers_of_every_task_are_understood(
    tmp_path: Path, header: str, roles: list[str], expected: list[str]
) -> None:
    """DeepSpeech's, NeMo's, SQuAD's and the like."""
    row = ",".join("1" for _ in header.split(","))
    assert list(choose_columns(listed(tmp_path, row, row, header=header), roles, {}).values()) == expected


def test_an_unusual_path_column_is_known_by_its_suffixes(tmp_path: Path) -> None:
    """Only one column holds paths of images."""
    put(tmp_path, "1.png", "2.png")
    table = listed(tmp_path, "x,1.png,a", "y,2.png,b", header="id,scan,label")
    assert choose_columns(table, ["image", "label"], {})["image"] == "scan"


# ------------------------------------------------------------------------------------------------ saved data sets
def save(root: Path, columns: dict[str, Any], features: dict[str, Any], schema: Any = None) -> None:
    """What `Dataset.save_to_disk` of the datasets library writes."""
    import pyarrow as pa

    table = pa.table(columns, schema=schema)
    root.mkdir(parents=True)
    name = "data-00000-of-00001.arrow"
    with pa.OSFile(str(root / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    (root / "dataset_info.json").write_text(json.dumps({"features": features}))


def test_a_saved_data_set_has_names_for_its_class_numbers(tmp_path: Path) -> None:
    """And no name for a row without a class."""
    features = {"label": {"_type": "ClassLabel", "names": ["ham", "spam"]}, "text": {"_type": "Value"}}
    save(tmp_path / "mail", {"text": ["a", "b", "c"], "label": [1, 0, -1]}, features)
    table = read_table(tmp_path / "mail")
    assert list(table.columns["label"]) == ["spam", "ham", None]
    assert table.where([2]) == "row 3"


def test_the_parts_of_a_saved_dictionary_become_a_split_column(tmp_path: Path) -> None:
    """`DatasetDict.save_to_disk`."""
    for part, texts in (("train", ["a", "b"]), ("test", ["c"])):
        save(tmp_path / "both" / part, {"text": texts}, {})
    (tmp_path / "both" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    table = read_table(tmp_path / "both")
    assert table.columns["split"] == ["train", "train", "test"]
    assert table.split_column == "split"


def test_images_embedded_in_a_saved_data_set_are_unpacked_row_by_row(tmp_path: Path) -> None:
    """Or found by their path where they are not embedded."""
    import pyarrow as pa

    cells = [{"bytes": b"one", "path": None}, {"bytes": None, "path": "kept.png"}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    save(
        tmp_path / "pics",
        {"image": cells, "label": ["a", "b"]},
        {},
        pa.schema([("image", kind), ("label", pa.string())]),
    )
    put(tmp_path / "pics", "kept.png")
    dataset = images(read_table(tmp_path / "pics"))
    assert dataset.inputs.read([0, 1]) == ([b"one", b"kept.png"],)
    assert dataset.samples[0] == digest_bytes(b"one")


@pytest.mark.parametrize("damage", ["data-00000-of-00001.arrow", "state.json", "dataset_info.json"])
def test_a_damaged_saved_data_set_names_the_file(tmp_path: Path, damage: str) -> None:
    """Cut off, not JSON, or gone."""
    save(tmp_path / "mail", {"text": ["a"]}, {})
    (tmp_path / "mail" / damage).write_bytes(b"{")
    with pytest.raises(InvalidInput, match=damage):
        read_table(tmp_path / "mail")


def test_a_saved_data_set_cannot_name_files_outside_its_folder(tmp_path: Path) -> None:
    """Its list of shards is data from somewhere else."""
    save(tmp_path / "mail", {"text": ["a"]}, {})
    (tmp_path / "mail" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../x.arrow"}]}))
    with pytest.raises(InvalidInput, match="leads out of the data's folder"):
        read_table(tmp_path / "mail")


def test_tags_of_a_saved_data_set_are_spelt_out(tmp_path: Path) -> None:
    """Lists of class numbers, as named entity sets have them."""
    features = {"ner_tags": {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["O", "B-PER"]}}}
    save(tmp_path / "ner", {"tokens": [["Ada", "spoke"], ["Rain"]], "ner_tags": [[1, 0], [0]]}, features)
    table = read_table(tmp_path / "ner")
    assert list(table.columns["ner_tags"]) == [["B-PER", "O"], ["O"]]
    dataset = read_dataset(table, {"text": "tokens", "spans": "ner_tags"}, ["text"], ["spans"])
    assert dataset.inputs.read([0]) == (["Ada spoke"],)
