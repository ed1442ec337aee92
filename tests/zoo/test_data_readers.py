"""Reading data files, guessing their columns, and refusing what cannot train a head."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstock.data import Table, read_table
from headstock.data.columns import choose_columns
from headstock.data.dataset import read_dataset
from headstock.digest import digest_file
from headstock.errors import InvalidInput

ROLES = ["text", "label"]


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def dataset_of(table: Table, **told: str) -> object:
    return read_dataset(table, choose_columns(table, ROLES, told), ["text"], ["label"])


# ------------------------------------------------------------------------------------------------ formats
@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.jsonl", "d.parquet", "D.CSV"])
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    texts, labels = ["hello there", 'a "quoted", word'], ["a", "b"]
    path = tmp_path / name
    match path.suffix.lower():
        case ".csv":
            path.write_text('text,label\nhello there,a\n"a ""quoted"", word",b\n')
        case ".tsv":
            path.write_text('text\tlabel\nhello there\ta\n"a ""quoted"", word"\tb\n')
        case ".jsonl":
            path.write_text('{"text": "hello there", "label": "a"}\n{"text": "a \\"quoted\\", word", "label": "b"}\n')
        case _:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": labels}), path)
    table = read_table(path)
    assert list(table.columns["text"]) == texts
    assert list(table.columns["label"]) == labels
    assert table.sha256 == digest_file(path)
    assert table.name == name


def test_rows_of_a_csv_know_the_line_they_begin_on(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.csv", 'text,label\n"one\ntwo\nthree",a\n\nfour,b\n'))
    assert list(table.places) == [2, 6]
    assert table.where([0, 1]) == "lines 2, 6"


def test_jsonl_rows_may_lack_keys_and_hold_line_separators(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.jsonl", '{"text": "a\u2028b"}\n\n{"label": 1}\n'))
    assert list(table.columns["text"]) == ["a\u2028b", None]
    assert list(table.places) == [1, 3]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_csv_with_another_separator_in_its_header_is_understood(tmp_path: Path, delimiter: str) -> None:
    table = read_table(write(tmp_path, "d.csv", f"text{delimiter}label\nwell, yes{delimiter}a\n"))
    assert list(table.columns["text"]) == ["well, yes"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert "text" in read_table(write(tmp_path, "d.csv", "\ufefftext,label\na b,c\n")).columns


def test_fields_longer_than_the_csv_modules_limit_are_read(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.csv", f"text,label\n{'x' * 300_000},a\n"))
    assert len(table.columns["text"][0]) == 300_000


# ------------------------------------------------------------------------------------------------ bad files
@pytest.mark.parametrize(
    "name, content, said",
    [
        ("d.csv", "", "is empty"),
        ("d.csv", "\n \n", "is empty"),
        ("d.csv", "text,label\n", "no rows"),
        ("d.csv", "text,label\na,b\nc\n", "line 3 is malformed: 1 fields where the header has 2"),
        ("d.csv", 'text,label\n"open,b\n', "line 2"),
        ("d.csv", "text,text\na,b\n", "two columns are called 'text'"),
        ("d.csv", "text,\na,b\n", "column 2 has no name"),
        ("d.csv", b"text,label\nfine,a\ncaf\xe9,b\n", "line 3 holds the byte 0xe9"),
        ("d.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is malformed: not JSON"),
        ("d.jsonl", '["a"]\n', "line 1 is malformed: a list"),
        ("d.parquet", "PAR1 not really", "not a readable Parquet file"),
        ("d.xlsx", "PK", "expected one of .csv"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_table(write(tmp_path, name, content))
    assert said in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_a_missing_file_is_named_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"'nowhere\.csv'") as caught:
        read_table(tmp_path / "nowhere.csv")
    assert str(tmp_path) not in caught.value.message


# ------------------------------------------------------------------------------------------------ columns
@pytest.mark.parametrize(
    "header, expected",
    [
        ("text,label", ("text", "label")),
        ("Sentence,Intent", ("Sentence", "Intent")),
        ("id,message,category", ("message", "category")),
        ("target,content", ("content", "target")),
        ("label,content,text", ("text", "label")),
    ],
)
def test_usual_column_names_are_recognised(tmp_path: Path, header: str, expected: tuple[str, str]) -> None:
    row = ",".join("ab" for _ in header.split(","))
    table = read_table(write(tmp_path, "d.csv", f"{header}\n{row}\n{row}\n"))
    assert tuple(choose_columns(table, ROLES, {}).values()) == expected


def test_unusual_names_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    lines = "\n".join(f"{i},what is the matter with number {i},{'ham' if i % 2 else 'spam'}" for i in range(10))
    table = read_table(write(tmp_path, "d.csv", f"nr,words,kind\n{lines}\n"))
    assert choose_columns(table, ROLES, {}) == {"text": "words", "label": "kind"}


def test_a_column_that_is_told_wins_over_the_guess(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.csv", "text,title,label\na b,c d,e\nf g,h i,j\n"))
    assert choose_columns(table, ROLES, {"text": "title"})["text"] == "title"


def test_a_wrong_column_names_all_columns_the_nearest_and_the_option(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.csv", "message,intent\na b,c\n"))
    with pytest.raises(InvalidInput) as caught:
        choose_columns(table, ROLES, {"text": "mesage"})
    assert "'message', 'intent'" in caught.value.message
    assert caught.value.fix == "--text-column message"


def test_columns_that_cannot_be_told_apart_are_asked_for(tmp_path: Path) -> None:
    lines = "\n".join(f"some words {i},other words {i},{i % 2}" for i in range(6))
    table = read_table(write(tmp_path, "d.csv", f"left,right,label\n{lines}\n"))
    with pytest.raises(InvalidInput, match="'left', 'right' would all fit") as caught:
        choose_columns(table, ROLES, {})
    assert caught.value.fix == "--text-column left"


def test_one_column_cannot_play_two_roles(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.csv", "text,label\na b,c\n"))
    with pytest.raises(InvalidInput, match="two roles"):
        choose_columns(table, ROLES, {"text": "text", "label": "text"})


# ------------------------------------------------------------------------------------------------ rows
@pytest.mark.parametrize(
    "content, said",
    [
        ("text,label\na b,x\n ,y\nc d,y\n,x\n", "no text in column 'text' at lines 3, 5"),
        ("text,label\na b,x\nc d,\n", "no label in column 'label' at line 3"),
        ("text,label\na b,x\nc d,x\n", "one class only, 'x'"),
        ("text,label\n,x\n,y\n", "empty in every row"),
    ],
)
def test_rows_that_cannot_train_a_head_are_named_by_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        dataset_of(read_table(write(tmp_path, "d.csv", content)))
    assert said in caught.value.message


def test_a_lone_surrogate_is_refused_with_its_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.jsonl", '{"text": "ok", "label": 1}\n{"text": "\\ud800", "label": 2}\n'))
    with pytest.raises(InvalidInput, match=r"line 2.*surrogate"):
        dataset_of(table)


def test_numbers_become_texts_and_labels(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.jsonl", '{"text": 12, "label": 0}\n{"text": "b", "label": true}\n'))
    dataset = read_dataset(table, {"text": "text", "label": "label"}, ["text"], ["label"])
    assert dataset.inputs.read([0, 1]) == (["12", "b"],)
    assert dataset.columns["label"] == ("0", "True")


# ------------------------------------------------------------------------------------------------ the examples
@pytest.mark.parametrize(
    "name, columns, rows, classes",
    [
        ("tickets.csv", {"text": "text", "label": "intent"}, 320, 8),
        ("sentiment.csv", {"text": "text", "label": "label"}, 305, 2),
    ],
)
def test_the_examples_need_no_column_options_and_hold_no_sentence_twice(
    name: str, columns: dict[str, str], rows: int, classes: int
) -> None:
    table = read_table(Path(__file__).parents[2] / "examples" / name)
    assert choose_columns(table, ROLES, {}) == columns
    dataset = read_dataset(table, columns, ["text"], ["label"])
    (texts,) = dataset.inputs.read(range(rows))
    assert len(dataset.inputs) == len({text.lower() for text in texts}) == rows
    assert len(set(dataset.columns["label"])) == classes


# ------------------------------------------------------------------------------------------------ other tasks
CONLL = """-DOCSTART- -X- O O

# sent_id = 1
Ada NNP B-NP B-PER
Lovelace NNP I-NP I-PER
wrote VBD O O
# O

Paris\tB-LOC
London\tB-LOC
"""


def test_conll_columns_become_texts_with_spans_of_characters(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.conll", CONLL))
    assert list(table.columns["text"]) == ["Ada Lovelace wrote #", "Paris London"]
    person, towns = table.columns["spans"]
    assert person == [{"start": 0, "end": 12, "label": "PER"}]
    assert towns == [{"start": 0, "end": 5, "label": "LOC"}, {"start": 6, "end": 12, "label": "LOC"}]
    assert list(table.places) == [4, 9]


def test_a_conll_line_without_a_tag_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="line 2 is malformed: 'Lovelace' does not end in a tag"):
        read_table(write(tmp_path, "d.bio", "Ada B-PER\nLovelace\n"))


def test_malformed_lines_are_counted_and_can_be_tolerated(tmp_path: Path) -> None:
    path = write(tmp_path, "d.jsonl", '{"text": "a"}\nnonsense\n{"text": "b"}\n[]\n')
    with pytest.raises(InvalidInput, match=r"line 2 is malformed.*1 more lines, e\.g\. line 4"):
        read_table(path)
    table = read_table(path, tolerant=True)
    assert [fault.place for fault in table.faults] == [2, 4]
    assert list(table.columns["text"]) == ["a", "b"]


def test_question_and_context_are_one_sample_and_answers_know_their_place(tmp_path: Path) -> None:
    rows = [
        '{"question": "who?", "context": "Ada wrote it", "answer": "Ada", "answer_start": 0}',
        '{"question": "when?", "context": "Ada wrote it", "answer": "", "answer_start": null}',
    ]
    table = read_table(write(tmp_path, "d.jsonl", "\n".join(rows)))
    columns = choose_columns(table, ["question", "context", "answer"], {})
    dataset = read_dataset(table, columns, ["question", "context"], ["answer"], optional=["answer"])
    assert dataset.inputs.read([1]) == (["when?"], ["Ada wrote it"])
    assert dataset.columns["answer"] == ({"text": ["Ada"], "answer_start": [0]}, "")
    assert len(set(dataset.samples)) == 2
    assert dataset.classes is None


def test_rows_of_a_table_are_json_without_the_columns_of_other_roles(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.csv", "age,town,species,part\n3,,cat,train\n4,Rome,dog,test\n"))
    columns = choose_columns(table, ["row", "label"], {"label": "species"})
    assert columns == {"label": "species"}
    dataset = read_dataset(table, columns, ["row"], ["label"], unused=["part"])
    assert dataset.inputs.read([0, 1]) == (['{"age":"3","town":""}', '{"age":"4","town":"Rome"}'],)


def test_a_target_that_is_no_number_is_named_by_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "d.csv", "text,price\na b,1.5\nc d,cheap\ne f,nan\n"))
    with pytest.raises(InvalidInput, match=r"no number in column 'price' at lines? 3"):
        read_dataset(table, {"text": "text", "target": "price"}, ["text"], ["target"])


def test_labels_that_parquet_holds_as_numbers_are_whole(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [1.0, 2.0]}), tmp_path / "d.parquet")
    dataset = read_dataset(read_table(tmp_path / "d.parquet"), {"text": "text", "label": "label"}, ["text"], ["label"])
    assert dataset.columns["label"] == ("1", "2")
